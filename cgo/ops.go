package torch

// #include "cgotorch.h"
import "C"

func (t Tensor) unary(name string, op C.int) Tensor {
	s, p, ok := t.use(name)
	if !ok {
		return Tensor{}
	}
	out := s.take(name, C.ct_unary(op, p, &s.out))
	if s.tape != nil {
		s.note(Step{Op: name, In: []Tensor{t}, Out: out})
	}
	return out
}

// pair checks two operands; the error goes to the session of whichever has one.
func pair(op string, a, b Tensor) (s *Session, pa, pb C.ct_tensor, ok bool) {
	if s = a.s; s == nil {
		s = b.s
	}
	if s == nil {
		return nil, nil, nil, false
	}
	if pa, ok = s.ptr(op, a); !ok {
		return
	}
	pb, ok = s.ptr(op, b)
	return
}

func (t Tensor) binary(name string, op C.int, u Tensor) Tensor {
	s, a, b, ok := pair(name, t, u)
	if !ok {
		return Tensor{}
	}
	out := s.take(name, C.ct_binary(op, a, b, &s.out))
	if s.tape != nil {
		s.note(Step{Op: name, In: []Tensor{t, u}, Out: out})
	}
	return out
}

func (t Tensor) scalar(name string, op C.int, v float64) Tensor {
	s, p, ok := t.use(name)
	if !ok {
		return Tensor{}
	}
	return s.take(name, C.ct_scalar(op, p, C.double(v), &s.out))
}

// Element-wise functions.

func (t Tensor) Relu() Tensor       { return t.unary("Relu", C.CT_RELU) }
func (t Tensor) Sigmoid() Tensor    { return t.unary("Sigmoid", C.CT_SIGMOID) }
func (t Tensor) Tanh() Tensor       { return t.unary("Tanh", C.CT_TANH) }
func (t Tensor) Exp() Tensor        { return t.unary("Exp", C.CT_EXP) }
func (t Tensor) Log() Tensor        { return t.unary("Log", C.CT_LOG) }
func (t Tensor) Sqrt() Tensor       { return t.unary("Sqrt", C.CT_SQRT) }
func (t Tensor) Abs() Tensor        { return t.unary("Abs", C.CT_ABS) }
func (t Tensor) Sign() Tensor       { return t.unary("Sign", C.CT_SIGN) }
func (t Tensor) Neg() Tensor        { return t.unary("Neg", C.CT_NEG) }
func (t Tensor) Square() Tensor     { return t.unary("Square", C.CT_SQUARE) }
func (t Tensor) Floor() Tensor      { return t.unary("Floor", C.CT_FLOOR) }
func (t Tensor) Round() Tensor      { return t.unary("Round", C.CT_ROUND) }
func (t Tensor) IsFinite() Tensor   { return t.unary("IsFinite", C.CT_ISFINITE) }
func (t Tensor) LogicalNot() Tensor { return t.unary("LogicalNot", C.CT_LOGICAL_NOT) }

// Hardsigmoid is x/6 + 1/2, bounded to [0, 1], and Hardswish x times that (Howard et al., arXiv 1905.02244, section 5.2).
func (t Tensor) Hardsigmoid() Tensor { return t.unary("Hardsigmoid", C.CT_HARDSIGMOID) }
func (t Tensor) Hardswish() Tensor   { return t.unary("Hardswish", C.CT_HARDSWISH) }

// FlipHW mirrors the last two dimensions.
func (t Tensor) FlipHW() Tensor { return t.unary("FlipHW", C.CT_FLIP_HW) }

// Arithmetic and comparisons with another tensor, broadcasting as in PyTorch; comparisons give bool.

func (t Tensor) Add(u Tensor) Tensor        { return t.binary("Add", C.CT_ADD, u) }
func (t Tensor) Sub(u Tensor) Tensor        { return t.binary("Sub", C.CT_SUB, u) }
func (t Tensor) Mul(u Tensor) Tensor        { return t.binary("Mul", C.CT_MUL, u) }
func (t Tensor) Div(u Tensor) Tensor        { return t.binary("Div", C.CT_DIV, u) }
func (t Tensor) Maximum(u Tensor) Tensor    { return t.binary("Maximum", C.CT_MAXIMUM, u) }
func (t Tensor) Minimum(u Tensor) Tensor    { return t.binary("Minimum", C.CT_MINIMUM, u) }
func (t Tensor) Eq(u Tensor) Tensor         { return t.binary("Eq", C.CT_EQ, u) }
func (t Tensor) Ne(u Tensor) Tensor         { return t.binary("Ne", C.CT_NE, u) }
func (t Tensor) Lt(u Tensor) Tensor         { return t.binary("Lt", C.CT_LT, u) }
func (t Tensor) Le(u Tensor) Tensor         { return t.binary("Le", C.CT_LE, u) }
func (t Tensor) Gt(u Tensor) Tensor         { return t.binary("Gt", C.CT_GT, u) }
func (t Tensor) Ge(u Tensor) Tensor         { return t.binary("Ge", C.CT_GE, u) }
func (t Tensor) LogicalAnd(u Tensor) Tensor { return t.binary("LogicalAnd", C.CT_AND, u) }

// MatMul is the matrix product of the last two dimensions.
func (t Tensor) MatMul(u Tensor) Tensor { return t.binary("MatMul", C.CT_MATMUL, u) }

// The same with a number.

func (t Tensor) AddScalar(v float64) Tensor { return t.scalar("AddScalar", C.CT_ADD, v) }
func (t Tensor) SubScalar(v float64) Tensor { return t.scalar("SubScalar", C.CT_SUB, v) }
func (t Tensor) MulScalar(v float64) Tensor { return t.scalar("MulScalar", C.CT_MUL, v) }
func (t Tensor) DivScalar(v float64) Tensor { return t.scalar("DivScalar", C.CT_DIV, v) }
func (t Tensor) EqScalar(v float64) Tensor  { return t.scalar("EqScalar", C.CT_EQ, v) }
func (t Tensor) NeScalar(v float64) Tensor  { return t.scalar("NeScalar", C.CT_NE, v) }
func (t Tensor) LtScalar(v float64) Tensor  { return t.scalar("LtScalar", C.CT_LT, v) }
func (t Tensor) LeScalar(v float64) Tensor  { return t.scalar("LeScalar", C.CT_LE, v) }
func (t Tensor) GtScalar(v float64) Tensor  { return t.scalar("GtScalar", C.CT_GT, v) }
func (t Tensor) GeScalar(v float64) Tensor  { return t.scalar("GeScalar", C.CT_GE, v) }
func (t Tensor) ClampMin(v float64) Tensor  { return t.scalar("ClampMin", C.CT_MAXIMUM, v) }
func (t Tensor) ClampMax(v float64) Tensor  { return t.scalar("ClampMax", C.CT_MINIMUM, v) }

// Clamp bounds every element to [lo, hi].
func (t Tensor) Clamp(lo, hi float64) Tensor {
	s, p, ok := t.use("Clamp")
	if !ok {
		return Tensor{}
	}
	out := s.take("Clamp", C.ct_clamp(p, C.double(lo), C.double(hi), &s.out))
	if s.tape != nil {
		s.note(Step{Op: "Clamp", In: []Tensor{t}, Out: out, Floats: []float64{lo, hi}})
	}
	return out
}

// In place, under the same rules as in PyTorch: a leaf that requires a gradient is changed inside NoGrad only.

func (t Tensor) binary_(name string, op C.int, u Tensor, alpha float64) Tensor {
	if s, a, b, ok := pair(name, t, u); ok {
		s.Fail(failure(name, C.ct_binary_(op, a, b, C.double(alpha))))
	}
	return t
}

func (t Tensor) scalar_(name string, op C.int, v float64) Tensor {
	if s, p, ok := t.use(name); ok {
		s.Fail(failure(name, C.ct_scalar_(op, p, C.double(v))))
	}
	return t
}

// Add_ adds alpha*u to t.
func (t Tensor) Add_(u Tensor, alpha float64) Tensor { return t.binary_("Add_", C.CT_ADD_, u, alpha) }

// Mul_ multiplies t by u, element by element.
func (t Tensor) Mul_(u Tensor) Tensor { return t.binary_("Mul_", C.CT_MUL_, u, 0) }

// Div_ divides t by u, element by element.
func (t Tensor) Div_(u Tensor) Tensor { return t.binary_("Div_", C.CT_DIV_, u, 0) }

// Copy_ overwrites t with u, converting type and device.
func (t Tensor) Copy_(u Tensor) Tensor { return t.binary_("Copy_", C.CT_COPY_, u, 0) }

// Fill_ sets every element to v.
func (t Tensor) Fill_(v float64) Tensor { return t.scalar_("Fill_", C.CT_FILL_, v) }

// Scale_ multiplies every element by v.
func (t Tensor) Scale_(v float64) Tensor { return t.scalar_("Scale_", C.CT_SCALE_, v) }

// Shift_ adds v to every element.
func (t Tensor) Shift_(v float64) Tensor { return t.scalar_("Shift_", C.CT_SHIFT_, v) }

// Clamp_ bounds every element to [lo, hi].
func (t Tensor) Clamp_(lo, hi float64) Tensor {
	if s, p, ok := t.use("Clamp_"); ok {
		s.Fail(failure("Clamp_", C.ct_clamp_(p, C.double(lo), C.double(hi))))
	}
	return t
}
