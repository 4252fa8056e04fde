package importer_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/importer"
	"rapt/trainer/checkpoint"
)

const (
	magic  = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + "\x80\x02M\xe9\x03." + "}."
	global = "ctorch._utils\n_rebuild_tensor_v2\n"
)

// text is a pickled str.
func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

// storageID is a storage's reference, of 4 floats.
func storageID(kind, key string) string {
	return "(" + text("storage") + "ctorch\n" + kind + "\n" + text(key) + text("cpu") + "K\x04tQ"
}

// tensor is a pickled tensor.
func tensor(offset, shape, stride string) string {
	return global + "(" + storageID("FloatStorage", "0") + offset + shape + stride + "\x89}tR"
}

// dict is a pickled dict of one entry.
func dict(name, value string) string { return "}" + text(name) + value + "s." }

var good = dict("w", tensor("K\x00", "K\x04\x85", "K\x01\x85"))

type inner struct{ name, content string }

func packed(t *testing.T, files ...inner) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		method := zip.Store
		if len(f.content) > 1<<16 {
			method = zip.Deflate
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: method})
		require.NoError(t, err)
		_, err = w.Write([]byte(f.content))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.String()
}

func refuse(t *testing.T, content, problem string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.pt")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	d, err := importer.ReadPyTorch(path)
	if err == nil { // what is wrong with a storage shows when it is read
		for _, x := range d.Tensors {
			if _, err = x.Convert(checkpoint.TypeF32); err != nil {
				break
			}
		}
		d.Close()
		require.ErrorContains(t, err, problem)
		return
	}
	require.ErrorContains(t, err, problem)
	require.ErrorContains(t, err, path+": ")
	require.NotContains(t, err.Error(), "\n")
	var input *checkpoint.InputError
	require.ErrorAs(t, err, &input)
}

func TestHostilePickles(t *testing.T) {
	data := strings.Repeat("\x00\x00\x80\x3f", 4)
	for name, c := range map[string]struct{ pickle, problem string }{
		"os.system":          {"cos\nsystem\n(" + text("id") + "tR.", "os.system is not allowed here"},
		"in a wrapper":       {dict("state_dict", "}"+text("w")+"cposix\nsystem\n("+text("id")+"tRs"), "posix.system is not allowed here"},
		"builtins.eval":      {dict("w", "cbuiltins\neval\n("+text("1")+"tR"), "builtins.eval is not allowed here"},
		"a chain":            {dict("w", "cbuiltins\ngetattr\n(cos\npopen\n"+text("read")+"tR)R"), "builtins.getattr is not allowed here"},
		"as a hook":          {dict("w", global+"("+storageID("FloatStorage", "0")+"K\x00K\x04\x85K\x01\x85\x89cos\nsystem\n)RtR"), "os.system is not allowed here"},
		"torch.load itself":  {dict("w", "ctorch\nload\n("+text("/etc/passwd")+"tR"), "torch.load is not allowed here"},
		"torch.hub":          {dict("w", "ctorch.hub\nload\n("+text("x")+"tR"), "torch.hub.load is not allowed here"},
		"calling a type":     {dict("w", "ctorch\nFloatStorage\n)R"), "may only be named here"},
		"beyond the storage": {dict("w", tensor("K\x01", "K\x04\x85", "K\x01\x85")), "reaches beyond its storage of 4"},
		"a long stride":      {dict("w", tensor("K\x00", "K\x02\x85", "K\x04\x85")), "reaches beyond its storage of 4"},
		"a huge shape": {dict("w", tensor("K\x00", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86", "K\x00K\x00\x86")),
			"reaches beyond its storage"},
		"an expanded view":   {dict("w", tensor("K\x00", "K\x05\x85", "K\x00\x85")), "reaches beyond its storage of 4"},
		"a negative shape":   {dict("w", tensor("K\x00", "J\xff\xff\xff\xff\x85", "K\x01\x85")), "impossible shape"},
		"a negative offset":  {dict("w", tensor("J\xff\xff\xff\xff", "K\x04\x85", "K\x01\x85")), "impossible shape"},
		"a negative stride":  {dict("w", tensor("K\x03", "K\x04\x85", "J\xff\xff\xff\xff\x85")), "impossible shape"},
		"two lengths":        {dict("w", tensor("K\x00", "K\x04\x85", "K\x01K\x01\x86")), "impossible shape"},
		"no storage there":   {dict("w", global+"("+storageID("FloatStorage", "../0")+"K\x00K\x04\x85K\x01\x85\x89}tR"), `lacks storage "../0"`},
		"another size":       {dict("w", global+"("+storageID("DoubleStorage", "0")+"K\x00K\x04\x85K\x01\x85\x89}tR"), "should have 32 bytes and has 16"},
		"a negated view":     {dict("w", global+"("+storageID("FloatStorage", "0")+"K\x00K\x04\x85K\x01\x85\x89}}"+text("neg")+"\x88stR"), "negated or conjugated"},
		"an unknown type":    {dict("w", global+"("+storageID("QInt8Storage", "0")+"K\x00K\x04\x85K\x01\x85\x89}tR"), "it holds quantised tensors (torch.QInt8Storage), which rapt does not read: convert them to float32"},
		"no storage":         {dict("w", global+"(NK\x00K\x04\x85K\x01\x85\x89}tR"), "something else than a storage"},
		"another reference":  {dict("w", text("x")+"Q"), "is no storage of a tensor"},
		"a module":           {dict("w", "("+text("module")+"NNNtQ"), "torch.save(model.state_dict(), FILE)"},
		"no state dict":      {"]K\x01a.", "holds no state dict"},
		"numbers":            {dict("lr", "K\x01"), `it has "lr", and tensors by their names`},
		"a name of controls": {dict("a\x1b[2J", tensor("K\x00", "K\x04\x85", "K\x01\x85")), "holds a tensor of the name"},
		"no name":            {"}K\x05" + tensor("K\x00", "K\x04\x85", "K\x01\x85") + "s.", "none with a name"},
		"cut short":          {good[:len(good)-1], "ends early"},
	} {
		t.Run(name, func(t *testing.T) {
			refuse(t, packed(t, inner{"m/data.pkl", c.pickle}, inner{"m/data/0", data}), c.problem)
			legacy := magic + c.pickle + "](" + text("0") + "e." + "\x04\x00\x00\x00\x00\x00\x00\x00" + data
			switch name {
			case "no storage there", "another size", "no state dict", "numbers", "cut short": // the list of storages is at fault before these
			default:
				refuse(t, legacy, c.problem)
			}
		})
	}
}

func TestDamagedArchives(t *testing.T) {
	data := strings.Repeat("\x00\x00\x80\x3f", 4)
	whole := packed(t, inner{"m/data.pkl", good}, inner{"m/data/0", data})
	changed := strings.Replace(whole, data, "\x01"+data[1:], 1)
	zeros := strings.Repeat("\x00", 1<<20)
	bomb := strings.Replace(good, "K\x04tQ", "J\x00\x00\x04\x00tQ", 1)
	require.NotEqual(t, good, bomb)
	for name, c := range map[string]struct{ content, problem string }{
		"truncated":        {whole[:len(whole)-30], "truncated or damaged"},
		"only a beginning": {"PK\x03\x04", "truncated or damaged"},
		"not of torch":     {packed(t, inner{"word/document.xml", "x"}), "holds no data.pkl"},
		"deep":             {packed(t, inner{"a/b/data.pkl", good}), "holds no data.pkl"},
		"two":              {packed(t, inner{"a/data.pkl", good}, inner{"b/data.pkl", good}), "holds both"},
		"twice":            {packed(t, inner{"a/data.pkl", good}, inner{"a/data.pkl", good}), "twice"},
		"TorchScript":      {packed(t, inner{"a/data.pkl", good}, inner{"a/constants.pkl", "."}), "is a TorchScript program"},
		"a changed byte":   {changed, "checksum error"},
		"short storage":    {packed(t, inner{"m/data.pkl", good}, inner{"m/data/0", data[1:]}), "should have 16 bytes and has 15"},
		"byte order":       {packed(t, inner{"m/data.pkl", good}, inner{"m/byteorder", "middle"}), "byte order"},
		"a bomb":           {packed(t, inner{"m/data.pkl", bomb}, inner{"m/data/0", zeros}), "packed more than 100 times smaller"},
		"a pickle bomb":    {packed(t, inner{"m/data.pkl", "B\x00\x00\x00\x7f" + zeros}, inner{"m/data/0", data}), "claims a value of 2130706432 bytes"},
	} {
		t.Run(name, func(t *testing.T) { refuse(t, c.content, c.problem) })
	}
}

func TestDamagedLegacyFiles(t *testing.T) {
	data := strings.Repeat("\x00\x00\x80\x3f", 4)
	list := func(keys ...string) string {
		out := "]("
		for _, k := range keys {
			out += text(k)
		}
		return out + "e."
	}
	size := "\x04\x00\x00\x00\x00\x00\x00\x00"
	view := func(v string) string {
		id := "(" + text("storage") + "ctorch\nFloatStorage\n" + text("0") + text("cpu") + "K\x04" + v + "tQ"
		return dict("w", global+"("+id+"K\x00K\x02\x85K\x01\x85\x89}tR")
	}
	for name, c := range map[string]struct{ content, problem string }{
		"no list":           {magic + good + "N.", "lacks the list of its storages"},
		"unknown storage":   {magic + good + list("1") + size + data, `holds "1", which is unknown or there twice`},
		"storage twice":     {magic + good + list("0", "0") + size + data + size + data, "there twice"},
		"storage missing":   {magic + good + list(), `lacks storage "0"`},
		"another size":      {magic + good + list("0") + "\x05" + size[1:] + data, "should have 4 elements and has 5"},
		"truncated":         {magic + good + list("0") + size + data[1:], "is truncated"},
		"no size":           {magic + good + list("0") + size[1:], "is truncated"},
		"another protocol":  {strings.Replace(magic, "M\xe9\x03", "M\xea\x03", 1) + good, "protocol 1001"},
		"another number":    {strings.Replace(magic, "\x19.", "\x18.", 1) + good, "magic number"},
		"view out of range": {magic + view("("+text("v")+"K\x03K\x02t") + list("0") + size + data, "lies outside it"},
		"view of nothing":   {magic + view("N\x85") + list("0") + size + data, "lies outside it"},
	} {
		t.Run(name, func(t *testing.T) { refuse(t, c.content, c.problem) })
	}
	path := filepath.Join(t.TempDir(), "view.pt")
	require.NoError(t, os.WriteFile(path, []byte(magic+view("("+text("v")+"K\x02K\x02t")+list("0")+size+data[:8]+"\x00\x00\x00\x40\x00\x00\x40\x40"), 0o644))
	d, err := importer.ReadPyTorch(path)
	require.NoError(t, err)
	defer d.Close()
	require.Equal(t, []float64{2, 3}, values(t, d.Tensors[0]))
}

func TestWholeModelsAreRefusedWithAdvice(t *testing.T) {
	_, err := importer.ReadPyTorch("testdata/whole.pt")
	require.ErrorContains(t, err, "torch.nn.modules.container.Sequential is not allowed here")
	require.ErrorContains(t, err, "torch.save(model.state_dict(), FILE) writes what can be read")
}

func TestKindOf(t *testing.T) {
	tar := strings.Repeat("x", 257) + "ustar" + strings.Repeat("\x00", 250)
	for name, c := range map[string]struct{ content, problem string }{
		"empty":       {"", "is empty"},
		"tar":         {tar, "is a tar file"},
		"pickle":      {"\x80\x04K\x01.", "not one of torch.save"},
		"safetensors": {"\x40\x00\x00\x00\x00\x00\x00\x00{\"conv1\":", "safetensors file already"},
		"binary":      {"\x00\x01\x02", "neither"},
		"latin":       {"caf\xe9: 1 and so on", "neither"},
	} {
		path := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(path, []byte(c.content), 0o644))
		_, err := importer.KindOf(path)
		require.ErrorContains(t, err, c.problem, name)
	}
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("#", 511)+"é: 1\n"), 0o644)) // cut in the middle of a character
	kind, err := importer.KindOf(path)
	require.NoError(t, err)
	require.Equal(t, importer.YAML, kind)
	_, err = importer.KindOf(t.TempDir())
	require.ErrorContains(t, err, "is not a file")
	_, err = importer.KindOf(path + ".none")
	require.ErrorContains(t, err, "no such file")
}

func FuzzReadPyTorch(f *testing.F) {
	for _, name := range []string{"all.pt", "all_legacy.pt", "wrapped.pt", "one_deflated.pt", "untyped.pt", "whole.pt"} {
		b, err := os.ReadFile("testdata/" + name)
		require.NoError(f, err)
		f.Add(b)
	}
	path := filepath.Join(f.TempDir(), "m.pt")
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o644))
		_, _ = importer.KindOf(path)
		d, err := importer.ReadPyTorch(path)
		if err != nil {
			return
		}
		defer d.Close()
		for _, x := range d.Tensors {
			_, _ = x.Convert(checkpoint.TypeF32)
		}
	})
}
