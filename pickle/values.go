package pickle

import (
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
)

// Bytes is Python's bytes or bytearray, or the str of Python 2.
type Bytes []byte

// Tuple is Python's tuple.
type Tuple []any

// List is Python's list. It is a pointer everywhere, since a list may be shared and filled later.
type List struct{ Items []any }

// Set is Python's set or frozenset, in the pickle's order.
type Set struct{ Items []any }

// Global is an allowed name by itself, such as a type given as an argument.
type Global struct {
	Name string // "module.name"
	make func(Tuple) (any, error)
}

// Text is a str of Python 3, or one of Python 2, which comes as Bytes.
func Text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case Bytes:
		return string(v), true
	}
	return "", false
}

// Pair is an entry of a Dict.
type Pair struct{ Key, Value any }

// Dict is Python's dict or OrderedDict, in insertion order. Its keys may be any values but lists, dicts and sets; unlike in Python
// 1, 1.0 and True are three keys.
type Dict struct {
	Pairs   []Pair
	index   map[any]int
	ordered bool // an OrderedDict: an object, which may be given attributes
}

// Get returns the value of a key that is a string, be it a str of Python 3 or of Python 2.
func (d *Dict) Get(key string) (any, bool) {
	i, ok := d.index[key]
	if !ok {
		i, ok = d.index[bytesKey(key)]
	}
	if !ok {
		return nil, false
	}
	return d.Pairs[i].Value, true
}

// Set adds an entry, or replaces the value of one that is there. It refuses a key that Python could not hash.
func (d *Dict) Set(key, value any) error {
	k, err := hashable(key)
	if err != nil {
		return err
	}
	if i, ok := d.index[k]; ok {
		d.Pairs[i].Value = value
		return nil
	}
	if d.index == nil {
		d.index = map[any]int{}
	}
	d.index[k] = len(d.Pairs)
	d.Pairs = append(d.Pairs, Pair{key, value})
	return nil
}

// OrderedDict is for Options.Allow, as "collections.OrderedDict": it makes a *Dict, empty or of pairs. Attributes that the pickle
// sets on it are dropped.
func OrderedDict(args Tuple) (any, error) {
	d := &Dict{ordered: true}
	if len(args) == 0 {
		return d, nil
	}
	l, ok := args[0].(*List)
	if !ok || len(args) > 1 {
		return nil, fmt.Errorf("collections.OrderedDict is given something else than a list of pairs")
	}
	for _, it := range l.Items {
		pair, _ := it.(Tuple)
		if p, ok := it.(*List); ok {
			pair = p.Items
		}
		if len(pair) != 2 {
			return nil, fmt.Errorf("collections.OrderedDict is given something else than a list of pairs")
		}
		if err := d.Set(pair[0], pair[1]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

type (
	bytesKey string
	floatKey uint64 // the bits, so that a NaN is found again
	intKey   string // of a big.Int
	tupleKey string
)

// maxKey bounds a key's bytes, and maxTupleKey those of a tuple as a key: a pickle may use one long string in many keys.
const maxKey, maxTupleKey = 1 << 16, 512

// hashable is a Go map's key for a Python key.
func hashable(v any) (any, error) {
	if s, ok := Text(v); ok && len(s) > maxKey {
		return nil, fmt.Errorf("it uses a string of %d bytes as a key, and %d are the limit here", len(s), maxKey)
	}
	switch v := v.(type) {
	case nil, bool, int64, string, *Global:
		return v, nil
	case float64:
		return floatKey(math.Float64bits(v)), nil
	case Bytes:
		return bytesKey(v), nil
	case *big.Int:
		return intKey(v.Text(16)), nil
	case Tuple:
		var b strings.Builder
		err := hashTuple(&b, v)
		return tupleKey(b.String()), err
	case *List, *Dict, *Set:
		return nil, fmt.Errorf("it uses a %s as a key, which Python cannot", kind(v))
	}
	if !reflect.TypeOf(v).Comparable() {
		return nil, fmt.Errorf("it uses a %s as a key", kind(v))
	}
	return v, nil
}

// hashTuple writes a tuple so that equal ones give equal text. A tuple of shared tuples can be exponentially large; it is refused.
func hashTuple(b *strings.Builder, t Tuple) error {
	b.WriteByte('(')
	if b.Len() > maxTupleKey { // before the tuples within, whose depth this bounds
		return fmt.Errorf("it uses a tuple as a key that takes more than %d bytes", maxTupleKey)
	}
	for _, it := range t {
		if inner, ok := it.(Tuple); ok {
			if err := hashTuple(b, inner); err != nil {
				return err
			}
			continue
		}
		k, err := hashable(it)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "%T%#v,", it, k)
		if b.Len() > maxTupleKey {
			return fmt.Errorf("it uses a tuple as a key that takes more than %d bytes", maxTupleKey)
		}
	}
	b.WriteByte(')')
	if b.Len() > maxTupleKey {
		return fmt.Errorf("it uses a tuple as a key that takes more than %d bytes", maxTupleKey)
	}
	return nil
}

// kind names a value's type in messages, as Python does.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case Bytes:
		return "bytes"
	case *List:
		return "list"
	case Tuple:
		return "tuple"
	case *Dict:
		return "dict"
	case *Set:
		return "set"
	case *Global:
		return v.Name
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", v), "*")
}

// walk looks at values and all that they hold.
type walk struct {
	seen map[any]int // how many containers lie within each other there; -1 while it is being looked at
	size int         // values seen, with a long string counting for more
}

// checkDepth refuses values that contain themselves or are nested too deeply, so that whoever walks them needs no care. It returns
// how much there is.
func checkDepth(v any, limit int) (size int, err error) {
	w := walk{seen: map[any]int{}}
	_, err = w.height(v, limit)
	return w.size, err
}

// height is how many containers lie within each other in v.
func (w *walk) height(v any, limit int) (int, error) {
	w.size++
	if s, ok := Text(v); ok {
		w.size += len(s) / 256
	}
	id, parts := inside(v)
	if id == nil {
		return 0, nil
	}
	if h, ok := w.seen[id]; ok {
		if h < 0 {
			return 0, fmt.Errorf("the pickle holds a %s that contains itself", kind(v))
		}
		return h, depthError(h, limit)
	}
	if err := depthError(1, limit); err != nil {
		return 0, err
	}
	w.seen[id] = -1
	h := 0
	for part := range parts {
		inner, err := w.height(part, limit-1)
		if err != nil {
			return 0, err
		}
		h = max(h, inner)
	}
	w.seen[id] = h + 1
	return h + 1, nil
}

func depthError(h, left int) error {
	if h > left {
		return fmt.Errorf("the pickle's values are nested more deeply than the limit here allows")
	}
	return nil
}

// inside is a container's identity and what it holds; nil for anything else.
func inside(v any) (id any, parts func(yield func(any) bool)) {
	each := func(items []any) func(func(any) bool) {
		return func(yield func(any) bool) {
			for _, it := range items {
				if !yield(it) {
					return
				}
			}
		}
	}
	switch v := v.(type) {
	case *List:
		return v, each(v.Items)
	case *Set:
		return v, each(v.Items)
	case Tuple:
		if len(v) == 0 {
			return nil, nil
		}
		return &v[0], each(v)
	case *Dict:
		return v, func(yield func(any) bool) {
			for _, p := range v.Pairs {
				if !yield(p.Key) || !yield(p.Value) {
					return
				}
			}
		}
	}
	return nil, nil
}
