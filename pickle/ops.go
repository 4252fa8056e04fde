package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// step runs one opcode: pushing plain values here, the rest in the functions below.
func (m *machine) step(op byte) error {
	switch op {
	case '.':
		return errStop
	case 0x80: // PROTO
		v, err := m.byte()
		if err == nil && v > 5 {
			err = fmt.Errorf("it is of protocol %d, and 5 is the newest that is known here", v)
		}
		return err
	case 0x95: // FRAME: how far to read ahead, which nothing depends on
		_, err := m.uint(8)
		return err
	case '(':
		return m.mark()
	case 'N':
		return m.push(nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		return m.push(op == 0x88)
	case 'I', 'L', 'F', 'J', 'K', 'M', 0x8a, 0x8b, 'G':
		return m.number(op)
	case 'S', 'T', 'U', 'V', 'X', 0x8c, 0x8d, 'B', 'C', 0x8e, 0x96:
		return m.stringOf(op)
	case ')', 't', 0x85, 0x86, 0x87, ']', 'l', '}', 'd', 0x8f, 0x91:
		return m.container(op)
	case 'a', 'e', 's', 'u', 0x90:
		return m.fill(op)
	case '0', '1', '2', 'p', 'q', 'r', 0x94, 'g', 'h', 'j':
		return m.shuffle(op)
	case 'c', 0x93, 'R', 0x81, 0x92, 'i', 'o', 'b', 'P', 'Q':
		return m.object(op)
	case 0x82, 0x83, 0x84:
		return fmt.Errorf("it uses a registered extension code, which is not allowed here")
	case 0x97, 0x98:
		return fmt.Errorf("it keeps its data in a buffer outside the pickle, which is not allowed here")
	}
	return fmt.Errorf("0x%02x is no opcode of a pickle", op)
}

// number pushes an int, a bool as protocol 0 writes it, or a float.
func (m *machine) number(op byte) error {
	switch op {
	case 'I', 'L', 'F':
		s, err := m.line()
		if err != nil {
			return err
		}
		return m.numeral(op, s)
	case 'K', 'M', 'J': // BININT1, BININT2, BININT
		v, err := m.uint(map[byte]int{'K': 1, 'M': 2, 'J': 4}[op])
		if err != nil {
			return err
		}
		if op == 'J' {
			return m.push(int64(int32(v)))
		}
		return m.push(int64(v))
	case 'G': // BINFLOAT, the one number with its high byte first
		b, err := m.bytes(8)
		if err != nil {
			return err
		}
		return m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	}
	b, err := m.counted(map[byte]int{0x8a: 1, 0x8b: 4}[op]) // LONG1, LONG4
	if err != nil {
		return err
	}
	v, err := twosComplement(b)
	if err != nil {
		return err
	}
	return m.push(v)
}

func (m *machine) numeral(op byte, s string) error {
	if op == 'I' && (s == "00" || s == "01") {
		return m.push(s == "01")
	}
	var v any
	var err error
	if op == 'F' {
		if v, err = strconv.ParseFloat(s, 64); err != nil {
			err = fmt.Errorf("%.40q is no number", s)
		}
	} else {
		v, err = decimal(s)
	}
	if err != nil {
		return err
	}
	return m.push(v)
}

// stringOf pushes a string or bytes.
func (m *machine) stringOf(op byte) error {
	var v any
	var err error
	switch op {
	case 'S', 'V':
		var s string
		if s, err = m.line(); err != nil {
			return err
		}
		if op == 'S' {
			v, err = quoted(s)
		} else {
			v, err = rawUnicode(s)
		}
	case 'X', 0x8c, 0x8d: // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
		v, err = m.text(map[byte]int{'X': 4, 0x8c: 1, 0x8d: 8}[op])
	default: // BINSTRING, SHORT_BINSTRING, BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
		var b []byte
		b, err = m.counted(map[byte]int{'T': 4, 'U': 1, 'B': 4, 'C': 1, 0x8e: 8, 0x96: 8}[op])
		v = Bytes(b)
	}
	if err != nil {
		return err
	}
	return m.push(v)
}

// container pushes a tuple, list, dict or set, empty or of what lies above the mark.
func (m *machine) container(op byte) error {
	var items []any
	var err error
	switch op {
	case 0x85, 0x86, 0x87: // TUPLE1, TUPLE2, TUPLE3
		if items, err = m.pop(int(op - 0x84)); err == nil {
			items = append([]any(nil), items...)
		}
	case 't', 'l', 'd', 0x91:
		items, err = m.popMark()
	}
	if err != nil {
		return err
	}
	switch op {
	case ']', 'l':
		return m.push(&List{items})
	case '}', 'd':
		d := &Dict{}
		if err := setAll(d, items); err != nil {
			return err
		}
		return m.push(d)
	case 0x8f, 0x91: // EMPTY_SET, FROZENSET
		return m.push(&Set{items})
	}
	return m.push(Tuple(items))
}

func setAll(d *Dict, items []any) error {
	if len(items)%2 != 0 {
		return fmt.Errorf("it gives a dict a key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		if err := d.Set(items[i], items[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// fill adds the topmost values, or all above the mark, to the container below them.
func (m *machine) fill(op byte) error {
	var items []any
	var err error
	switch op {
	case 'a': // APPEND
		items, err = m.pop(1)
	case 's': // SETITEM
		items, err = m.pop(2)
	default: // APPENDS, SETITEMS, ADDITEMS
		items, err = m.popMark()
	}
	if err != nil {
		return err
	}
	target, err := m.top()
	if err != nil {
		return err
	}
	if err := m.spend(len(items)); err != nil {
		return err
	}
	switch t := target.(type) {
	case *List:
		if op == 'a' || op == 'e' {
			t.Items = append(t.Items, items...)
			return nil
		}
	case *Dict:
		if op == 's' || op == 'u' {
			return setAll(t, items)
		}
	case *Set:
		if op == 0x90 {
			t.Items = append(t.Items, items...)
			return nil
		}
	}
	return fmt.Errorf("it adds items to a %s, which takes none of that kind", kind(target))
}

// shuffle moves values between the stack and the memo, or drops or doubles them.
func (m *machine) shuffle(op byte) error {
	switch op {
	case '0': // POP, of a mark too
		if n := len(m.marks); n > 0 && m.marks[n-1] == len(m.stack) {
			m.marks = m.marks[:n-1]
			return nil
		}
		_, err := m.pop(1)
		return err
	case '1': // POP_MARK
		_, err := m.popMark()
		return err
	case '2': // DUP
		v, err := m.top()
		if err != nil {
			return err
		}
		return m.push(v)
	case 0x94: // MEMOIZE
		return m.put(int64(len(m.memo)))
	}
	var i int64
	var err error
	if op == 'p' || op == 'g' {
		i, err = m.index()
	} else {
		var u uint64
		u, err = m.uint(map[byte]int{'q': 1, 'h': 1, 'r': 4, 'j': 4}[op])
		i = int64(u)
	}
	if err != nil {
		return err
	}
	if strings.IndexByte("pqr", op) >= 0 {
		return m.put(i)
	}
	return m.get(i)
}
