package pickle

import "fmt"

// builder is a value that takes the state which a pickle sets on it.
type builder interface{ Build(state any) error }

// Build drops the attributes of an OrderedDict; a plain dict has none.
func (d *Dict) Build(any) error {
	if !d.ordered {
		return fmt.Errorf("it sets attributes of a dict")
	}
	return nil
}

// object runs the opcodes with which Python would call code: here they find names in Options.Allow, and call what stands there.
func (m *machine) object(op byte) error {
	switch op {
	case 'c', 0x93: // GLOBAL, STACK_GLOBAL
		module, name, err := m.globalName(op)
		if err != nil {
			return err
		}
		g, err := m.global(module, name)
		if err != nil {
			return err
		}
		return m.push(g)
	case 'R', 0x81, 0x92: // REDUCE, NEWOBJ, NEWOBJ_EX
		return m.reduce(op)
	case 'i', 'o': // INST, OBJ
		return m.instance(op)
	case 'b': // BUILD
		state, err := m.pop(1)
		if err != nil {
			return err
		}
		v, err := m.top()
		if err != nil {
			return err
		}
		b, ok := v.(builder)
		if !ok {
			return fmt.Errorf("it sets the state of a %s, which is not allowed here", kind(v))
		}
		return b.Build(state[0])
	}
	return m.persistent(op)
}

func (m *machine) globalName(op byte) (module, name string, err error) {
	if op != 0x93 {
		if module, err = m.line(); err == nil {
			name, err = m.line()
		}
		return module, name, err
	}
	v, err := m.pop(2)
	if err != nil {
		return "", "", err
	}
	module, ok := Text(v[0])
	name, ok2 := Text(v[1])
	if !ok || !ok2 {
		return "", "", fmt.Errorf("it names a class by a %s and a %s, and two strings are due", kind(v[0]), kind(v[1]))
	}
	return module, name, nil
}

// global looks a name up. Nothing that Options.Allow lacks gets past here.
func (m *machine) global(module, name string) (*Global, error) {
	full := module + "." + name
	call, ok := m.o.Allow[full]
	if !ok {
		return nil, &NotAllowedError{printable(full)}
	}
	return &Global{Name: full, make: call}, nil
}

// NotAllowedError is the refusal of a name that Options.Allow lacks.
type NotAllowedError struct{ Name string } // "module.name", fit for a message

func (e *NotAllowedError) Error() string {
	return e.Name + " is not allowed here: a pickle may name only the few types that data is made of, and runs no code"
}

// printable quotes a name that would spoil a message, and cuts a long one.
func printable(name string) string {
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return fmt.Sprintf("%.80q", name)
		}
	}
	return fmt.Sprintf("%.80s", name)
}

// reduce makes an object of a name and a tuple of arguments.
func (m *machine) reduce(op byte) error {
	n := 2
	if op == 0x92 {
		n = 3
	}
	v, err := m.pop(n)
	if err != nil {
		return err
	}
	args, ok := v[1].(Tuple)
	if !ok {
		return fmt.Errorf("it calls a %s with a %s, and a tuple of arguments is due", kind(v[0]), kind(v[1]))
	}
	if n == 3 {
		if kw, ok := v[2].(*Dict); !ok || len(kw.Pairs) > 0 {
			return fmt.Errorf("it calls a %s with named arguments, which is not allowed here", kind(v[0]))
		}
	}
	return m.call(v[0], args)
}

// instance makes an object as protocol 0 does: of a name and what lies above the mark.
func (m *machine) instance(op byte) error {
	var callee any
	if op == 'i' {
		module, name, err := m.globalName('c')
		if err != nil {
			return err
		}
		if callee, err = m.global(module, name); err != nil {
			return err
		}
	}
	args, err := m.popMark()
	if err != nil {
		return err
	}
	if op == 'o' {
		if len(args) == 0 {
			return fmt.Errorf("it makes an object without a class")
		}
		callee, args = args[0], args[1:]
	}
	return m.call(callee, args)
}

func (m *machine) call(callee any, args Tuple) error {
	g, ok := callee.(*Global)
	if !ok {
		return fmt.Errorf("it calls a %s, which is not allowed here", kind(callee))
	}
	if g.make == nil {
		return fmt.Errorf("it calls %s, which may only be named here", g.Name)
	}
	// What stands for a class may copy its arguments, which many calls may share: they count as if they were new.
	size, err := checkDepth(args, m.o.MaxDepth)
	if err != nil {
		return err
	}
	if err := m.spend(size); err != nil {
		return err
	}
	v, err := g.make(args)
	if err != nil {
		return err
	}
	return m.push(v)
}

func (m *machine) persistent(op byte) error {
	var id any
	if op == 'P' { // PERSID
		s, err := m.line()
		if err != nil {
			return err
		}
		id = s
	} else { // BINPERSID
		v, err := m.pop(1)
		if err != nil {
			return err
		}
		id = v[0]
	}
	if m.o.PersistentLoad == nil {
		return fmt.Errorf("it refers to something outside itself, and there is nothing here")
	}
	v, err := m.o.PersistentLoad(id)
	if err != nil {
		return err
	}
	return m.push(v)
}
