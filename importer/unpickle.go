package importer

import (
	"errors"
	"fmt"
	"strings"

	"rapt/pickle"
	"rapt/trainer/checkpoint"
)

// The limits of a checkpoint's pickle. The tensors' elements are not in it.
const (
	maxPickle = 64 << 20
	maxValues = 2_000_000
)

// object stands for a value that nothing here needs, such as a scheduler's counter. Its state is dropped.
type object struct{ name string }

// Build drops the state.
func (*object) Build(any) error { return nil }

// dtypeOf reads a torch dtype, which comes as a name.
func dtypeOf(v any) (checkpoint.DType, error) {
	if g, ok := v.(*pickle.Global); ok {
		if d, ok := elementTypes[strings.TrimPrefix(g.Name, "torch.")]; ok {
			return d, nil
		}
	}
	return "", errors.New("a tensor has no type that is known here")
}

// storageTypes are the element types by the names of PyTorch's storages; an untyped one has none.
var storageTypes = map[string]checkpoint.DType{
	"DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "LongStorage": "I64", "IntStorage": "I32",
	"ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL", "UntypedStorage": "",
}

// storageType reads a storage's type, by its name.
func storageType(v any) (checkpoint.DType, error) {
	if g, ok := v.(*pickle.Global); ok {
		if d, ok := storageTypes[g.Name[strings.LastIndexByte(g.Name, '.')+1:]]; ok {
			return d, nil
		}
	}
	return "", errors.New("a storage has no type that is known here")
}

// options allow what torch.save writes for tensors, and plain data that training scripts save beside them.
func options(persistent func(pickle.Tuple) (*storage, error)) pickle.Options {
	allow := pickle.NumPy()
	for name := range elementTypes {
		allow["torch."+name] = nil
	}
	for name := range storageTypes {
		for _, module := range []string{"torch.", "torch.cuda.", "torch.storage."} {
			allow[module+name] = nil
		}
	}
	for name, call := range map[string]func(pickle.Tuple) (any, error){
		"_rebuild_tensor": rebuildTensor, "_rebuild_tensor_v2": rebuildTensor, "_rebuild_tensor_v3": rebuildTyped,
		"_rebuild_parameter": rebuildParameter, "_rebuild_parameter_with_state": rebuildParameter,
	} {
		allow["torch._utils."+name] = call
	}
	for _, name := range []string{"torch.device", "torch.Size", "collections.Counter", "collections.defaultdict", "argparse.Namespace"} {
		allow[name] = func(pickle.Tuple) (any, error) { return &object{name}, nil }
	}
	for _, name := range []string{"dict", "list", "int", "float"} { // a defaultdict's factory
		allow["builtins."+name], allow["__builtin__."+name] = nil, nil
	}
	return pickle.Options{Allow: allow, MaxBytes: maxPickle, MaxItems: maxValues, PersistentLoad: func(id any) (any, error) {
		t, _ := id.(pickle.Tuple)
		if len(t) > 0 {
			switch kind, _ := pickle.Text(t[0]); kind {
			case "storage":
				return persistent(t)
			case "module":
				return nil, errors.New("it holds a whole model, with its code. " + saveStateDict)
			}
		}
		return nil, errors.New("it refers to something that is no storage of a tensor")
	}}
}

const saveStateDict = "torch.save(model.state_dict(), FILE) writes what can be read"

// explain adds to a refusal what whoever saved a whole model needs to know.
func explain(err error) error {
	var refused *pickle.NotAllowedError
	if errors.As(err, &refused) {
		for part, kind := range map[string]string{"Complex": "complex", "_rebuild_qtensor": "quantised", ".QInt": "quantised", ".QUInt": "quantised"} {
			if strings.Contains(refused.Name, part) {
				return fmt.Errorf("it holds %s tensors (%s), which rapt does not read: convert them to float32 and save them again", kind, refused.Name)
			}
		}
		return fmt.Errorf("%w. If the file holds a whole model, as torch.save(model, FILE) writes it: %s", err, saveStateDict)
	}
	return err
}

// ints reads a tuple of whole numbers.
func ints(v any) ([]int64, error) {
	t, ok := v.(pickle.Tuple)
	if !ok || len(t) > maxRank {
		return nil, errors.New("a tensor's shape or strides are no short tuple")
	}
	out := make([]int64, len(t))
	for i, it := range t {
		if out[i], ok = it.(int64); !ok {
			return nil, errors.New("a tensor's shape or strides hold something else than whole numbers")
		}
	}
	return out, nil
}

// rebuildTensor reads (storage, offset, shape, strides, ...).
func rebuildTensor(args pickle.Tuple) (any, error) {
	if len(args) >= 4 {
		if s, ok := args[0].(*storage); ok {
			if s.dtype == "" {
				return nil, errors.New("a tensor has no type that is known here")
			}
			return rebuild(s, s.dtype, args, 6)
		}
	}
	return nil, errors.New("a tensor is made of something else than a storage, an offset, a shape and strides")
}

// rebuildTyped reads (storage, offset, shape, strides, requires_grad, hooks, dtype, ...), where the storage is one of bytes.
func rebuildTyped(args pickle.Tuple) (any, error) {
	if len(args) >= 7 {
		if s, ok := args[0].(*storage); ok {
			d, err := dtypeOf(args[6])
			if err != nil {
				return nil, err
			}
			return rebuild(s, d, args, 7)
		}
	}
	return nil, errors.New("a tensor is made of something else than a storage, an offset, a shape, strides and a type")
}

// rebuild makes the view. Facts of it, such as that it is one of the numbers negated, stand in the argument at, if it is there.
func rebuild(s *storage, d checkpoint.DType, args pickle.Tuple, at int) (any, error) {
	if len(args) > at && args[at] != nil {
		if facts, ok := args[at].(*pickle.Dict); !ok || len(facts.Pairs) > 0 {
			return nil, errors.New("a tensor is a negated or conjugated view, which is not read: save a clone of it")
		}
	}
	offset, ok := args[1].(int64)
	if !ok {
		return nil, errors.New("a tensor's offset is no whole number")
	}
	shape, err := ints(args[2])
	if err != nil {
		return nil, err
	}
	stride, err := ints(args[3])
	if err != nil {
		return nil, err
	}
	return newTensor(s, d, offset, shape, stride)
}

// rebuildParameter reads (tensor, requires_grad, hooks, ...).
func rebuildParameter(args pickle.Tuple) (any, error) {
	if len(args) > 0 {
		if t, ok := args[0].(*Tensor); ok {
			return t, nil
		}
	}
	return nil, errors.New("a parameter is made of something else than a tensor")
}

// newStorage reads the id ("storage", type, key, place, numel, ...).
func newStorage(id pickle.Tuple) (*storage, error) {
	if len(id) < 5 {
		return nil, errors.New("a storage's id is too short")
	}
	d, err := storageType(id[1])
	if err != nil {
		return nil, err
	}
	key, ok := pickle.Text(id[2])
	numel, ok2 := id[4].(int64)
	if !ok || !ok2 || numel < 0 || numel > 1<<40 {
		return nil, errors.New("a storage's id has no key or an impossible size")
	}
	return &storage{key: key, dtype: d, numel: numel}, nil
}
