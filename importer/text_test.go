package importer

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func TestWhatCannotBeWrittenIsAnError(t *testing.T) {
	c := &Config{name: "old.yaml", root: &yaml.Node{Kind: 99}}
	_, err := c.Text()
	require.ErrorContains(t, err, "what was carried over of old.yaml cannot be written as YAML: ")
}
