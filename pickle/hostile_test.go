package pickle_test

import (
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/pickle"
)

// hostile are pickles that must be refused, with what the error says.
var hostile = []struct{ name, pickle, problem string }{
	{"os.system", "cos\nsystem\n(S'touch owned'\ntR.", "os.system is not allowed here"},
	{"posix.system", "\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.", "posix.system is not allowed here"},
	{"builtins.eval", "\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "builtins.eval is not allowed here"},
	{"python 2's eval", "c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval is not allowed here"},
	{"nested in a dict", "}X\x01\x00\x00\x00acsubprocess\nPopen\n(X\x02\x00\x00\x00idtRs.", "subprocess.Popen is not allowed here"},
	{"by INST", "(S'id'\nios\nsystem\n.", "os.system is not allowed here"},
	{"by OBJ", "(cos\nsystem\nS'id'\no.", "os.system is not allowed here"},
	{"by NEWOBJ", "\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85\x81.", "os.system is not allowed here"},
	{"getattr chain", "cbuiltins\ngetattr\n(cbuiltins\n__import__\nS'os'\ntR.", "builtins.getattr is not allowed here"},
	{"a dotted name", "\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.", "numpy.ndarray.__init__ is not allowed here"},
	{"a name with a line feed", "\x80\x04\x8c\x02o\n\x8c\x01s\x93.", `"o\n.s" is not allowed here`},
	{"calling a name that may only be named", "cnumpy\nndarray\n)R.", "numpy.ndarray, which may only be named here"},
	{"calling a result", "ccollections\nOrderedDict\n)R)R.", "calls a dict"},
	{"calling a string", "S'x'\n)R.", "calls a bytes"},
	{"calling without a tuple", "ccollections\nOrderedDict\n]R.", "with a list"},
	{"named arguments", "\x80\x04ccollections\nOrderedDict\n)}K\x01K\x02s\x92.", "named arguments"},
	{"state of a list", "]}b.", "sets the state of a list"},
	{"state of a dict", "}}b.", "sets attributes of a dict"},
	{"extension code", "\x80\x02\x82\x01.", "extension code"},
	{"buffer", "\x80\x05\x97.", "outside the pickle"},
	{"naming by numbers", "\x80\x04K\x01K\x02\x93.", "two strings are due"},

	{"empty", "", "ends early, at byte 0"},
	{"no stop", "K\x01", "ends early"},
	{"half a number", "J\x01", "ends early"},
	{"half a line", "I12", "ends early"},
	{"huge bytes", "\x80\x04\x8e\x00\x00\x00\x00\x00\x00\x00\x10.", "claims a value of 1152921504606846976 bytes"},
	{"all ones", "\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "claims a value of 18446744073709551615 bytes"},
	{"negative string", "T\xff\xff\xff\xff.", "claims a value of 4294967295 bytes"},
	{"more than there is", "B\xff\xff\xff\x00x.", "ends early"},
	{"huge int", "\x8b\xff\xff\xff\x00x.", "ends early"},
	{"long decimal", "L" + strings.Repeat("9", 5000) + "L\n.", "no whole number"},
	{"not a number", "Fabc\n.", "is no number"},
	{"bad escape", "S'\\q'\n.", "none of Python's repr"},
	{"half an escape", "V\\u12\n.", "ends within an escape"},
	{"surrogate", "V\\ud800\n.", "is no character"},
	{"no quotes", "Sabc\n.", "not in quotes"},
	{"not UTF-8", "X\x01\x00\x00\x00\xff.", "not UTF-8"},

	{"no value", ".", "0 values on its stack"},
	{"two values", "K\x01K\x02.", "2 values on its stack"},
	{"a mark left", "K\x01(.", "exactly one is due"},
	{"underflow", "a.", "empty stack"},
	{"through a mark", "K\x01(\x85.", "empty stack"},
	{"below a mark", "](a.", "empty stack"},
	{"no mark", "]e.", "mark that is not there"},
	{"tuple of too few", "K\x01\x86.", "empty stack"},
	{"memo miss", "h\x00.", "entry 0 of its memo"},
	{"memo of nothing", "q\x00.", "empty stack"},
	{"negative memo", "K\x01p-1\n.", "negative"},
	{"no memo index", "gx\n.", "no memo index"},
	{"append to a dict", "}K\x01a.", "adds items to a dict"},
	{"set on a list", "]K\x01K\x02s.", "adds items to a list"},
	{"key without a value", "(K\x01d.", "without a value"},
	{"list as a key", "}]K\x01s.", "uses a list as a key"},
	{"list in a key", "}]\x85K\x01s.", "uses a list as a key"},
	{"protocol 6", "\x80\x06K\x01.", "protocol 6"},
	{"no opcode", "\xff.", "0xff is no opcode"},
	{"list in itself", "]q\x00h\x00a.", "contains itself"},
	{"dict in itself", "}q\x00K\x01h\x00s.", "contains itself"},
	{"tuple in its list", "]q\x00h\x00\x85a.", "contains itself"},
	{"deep", strings.Repeat("]", 5000) + strings.Repeat("a", 4999) + ".", "nested more deeply"},
	{"deep tuples", ")" + strings.Repeat("\x85", 500_000) + ".", "nested more deeply"},
	{"deep tuple as a key", "})" + strings.Repeat("\x85", 500_000) + "Ns.", "as a key that takes more than"},
	{"deep arguments", "ccollections\nOrderedDict\n" + ")" + strings.Repeat("\x85", 5000) + "R.", "nested more deeply"},
	{"deep but shared", "]q\x00" + strings.Repeat("\x85", 60) + "q\x01" + strings.Repeat("\x85", 60) + "h\x01\x86.", "nested more deeply"},

	{"array of objects", "cnumpy\ndtype\n(X\x02\x00\x00\x00O8tR.", "only numbers and strings"},
	{"array too short", "cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x05\x85cnumpy\ndtype\n(X\x02\x00\x00\x00u1tR\x89C\x01xtb.", "needs 5 bytes and has 1"},
	{"array of 2^126", "cnumpy.core.multiarray\n_reconstruct\n)R(K\x01\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86cnumpy\ndtype\n(X\x02\x00\x00\x00u1tR\x89C\x01xtb.",
		"impossible shape"},
	{"array of wrong state", "cnumpy.core.multiarray\n_reconstruct\n)RNb.", "not the tuple"},
	{"another encoding", "c_codecs\nencode\n(X\x01\x00\x00\x00xX\x03\x00\x00\x00hextR.", "latin1 alone"},
}

func TestHostilePickles(t *testing.T) {
	dir, err := os.Getwd()
	require.NoError(t, err)
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			v, err := pickle.Load(strings.NewReader(h.pickle), pickle.Options{Allow: pickle.NumPy()})
			require.ErrorContains(t, err, h.problem)
			require.Nil(t, v)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	require.NoFileExists(t, dir+"/owned")
}

// allocated is how much memory was taken while f ran, freed or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestMemoryIsBounded: what a few bytes claim takes no memory, and what many small things take stays near the limit of items.
func TestMemoryIsBounded(t *testing.T) {
	long := strings.Repeat("k", 60_000)
	size := binary.LittleEndian.AppendUint32(nil, uint32(len(long)))
	text := "X" + string(size) + long + "q\x00"
	bombs := map[string]string{
		"claimed bytes":    "B\x00\x00\x00\x0fx.",
		"memo indices":     strings.Repeat("Nr\xff\xff\xff\xff0", 50_000) + ".",
		"doubling":         "N" + strings.Repeat("2", 2_000_000) + ".",
		"doubled tuples":   ")" + strings.Repeat("2\x86", 50_000) + ".",
		"marks":            strings.Repeat("(", 2_000_000) + ".",
		"lists":            strings.Repeat("]", 2_000_000) + ".",
		"shared append":    "]q\x00(" + strings.Repeat("N", 1000) + "e0" + strings.Repeat("]h\x00a", 100_000) + ".",
		"copied arguments": text + "0c_codecs\nencode\nq\x01" + strings.Repeat("h\x01h\x00X\x06\x00\x00\x00latin1\x86R", 100_000) + ".",
		"copied lists": "](" + strings.Repeat("NN\x86", 3000) + "eq\x00ccollections\nOrderedDict\nq\x01" +
			strings.Repeat("h\x01h\x00\x85R", 100_000) + ".",
		"long tuple keys": text + "}" + strings.Repeat("h\x00J\x00\x00\x00\x00\x86Ns", 1000) + ".",
	}
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			var err error
			used := allocated(func() {
				_, err = pickle.Load(strings.NewReader(bomb), pickle.Options{Allow: pickle.NumPy(), MaxItems: 100_000})
			})
			require.Error(t, err)
			require.Less(t, used, uint64(64<<20))
		})
	}
}

func TestLimits(t *testing.T) {
	_, err := pickle.Load(strings.NewReader("K\x01."), pickle.Options{MaxBytes: 2})
	require.ErrorContains(t, err, "longer than 2 bytes")
	_, err = pickle.Load(strings.NewReader("(NNNt."), pickle.Options{MaxItems: 3})
	require.ErrorContains(t, err, "more than 3 values")
	for depth, ok := range map[int]bool{3: true, 2: false} {
		_, err = pickle.Load(strings.NewReader("]]]aa."), pickle.Options{MaxDepth: depth})
		require.Equal(t, ok, err == nil, "%v", err)
	}
}
