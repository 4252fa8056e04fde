package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// admmOnly are the keys of a Stage that only the admmSections have, rho_step_growth admm alone.
var admmOnly = []string{"rho", "rho_mode", "rho_growth", "rho_step_growth", "update_every"}

// sections are the config's sections in their order, and sectionKeys the keys of each.
var sections, sectionKeys = readKeys()

func readKeys() (names []string, keys map[string][]string) {
	keys = map[string][]string{}
	config := reflect.TypeFor[Config]()
	for i := range config.NumField() {
		section := tagOf(config.Field(i))
		if section == "" {
			continue
		}
		names = append(names, section)
		for j := range config.Field(i).Type.NumField() {
			key := tagOf(config.Field(i).Type.Field(j))
			if slices.Contains(admmOnly, key) && !slices.Contains(admmSections, section) || key == "rho_step_growth" && section != "admm" {
				continue
			}
			keys[section] = append(keys[section], key)
		}
	}
	return names, keys
}

// keysOf lists a section's keys.
func keysOf(section string) []string { return sectionKeys[section] }

// tagOf is a field's YAML key, empty for the unexported ones.
func tagOf(field reflect.StructField) string {
	key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	return key
}

// fieldOf is the field of a struct that has the YAML key.
func fieldOf(of reflect.Value, key string) reflect.Value {
	for i := range of.NumField() {
		if tagOf(of.Type().Field(i)) == key {
			return of.Field(i)
		}
	}
	return reflect.Value{}
}

// unknownSection says what a section's name should have been.
func unknownSection(name string) string {
	text := fmt.Sprintf("unknown section %q; ", clip(name))
	if near := nearest(name, sections); near != "" {
		return text + fmt.Sprintf("did you mean %q?", near)
	}
	if owners := ownersOf(name); owners != "" {
		return text + "did you mean " + owners + "?"
	}
	return text + "the sections are " + listing(sections)
}

// unknownKey says what a key of a section should have been: one that is near, or the same key of another section.
func unknownKey(section, key string) string {
	text := fmt.Sprintf("unknown key %q; ", clip(section+"."+key))
	if owners := ownersOf(key); owners != "" {
		return text + "did you mean " + owners + "?"
	}
	if near := nearest(key, keysOf(section)); near != "" {
		return text + fmt.Sprintf("did you mean %q?", near)
	}
	return text + "the keys of " + section + " are " + listing(keysOf(section))
}

// ownersOf lists the sections that have the key, as "pretrain.epochs" or "admm.epochs".
func ownersOf(key string) string {
	var found []string
	for _, section := range sections {
		if slices.Contains(keysOf(section), key) {
			found = append(found, fmt.Sprintf("%q", section+"."+key))
		}
	}
	return strings.Join(found, " or ")
}

// nearest is the candidate that word was likely meant to be: one letter off, cut short (eps), or two letters off. Empty where
// none is.
func nearest(word string, candidates []string) string {
	if len(word) < 2 || len(word) > 64 {
		return ""
	}
	word = strings.ReplaceAll(strings.ToLower(word), "-", "_")
	off := func(most int) func(string) bool {
		return func(candidate string) bool {
			return levenshtein.ComputeDistance(word, strings.ToLower(candidate)) <= most
		}
	}
	cutShort := func(candidate string) bool { return strings.HasPrefix(strings.ToLower(candidate), word) }
	tries := []func(string) bool{off(0), off(1), cutShort}
	if len(word) > 2 {
		tries = append(tries, off(2))
	}
	for _, near := range tries {
		if i := slices.IndexFunc(candidates, near); i >= 0 {
			return candidates[i]
		}
	}
	return ""
}

// listing joins words as "a, b and c".
func listing(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
