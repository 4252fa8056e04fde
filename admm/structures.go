package admm

import (
	"fmt"
	"regexp"
	"strconv"

	torch "rapt/cgo"
)

// Pattern leaves 4 of the 9 entries of each 3x3 kernel, by one of a few patterns that a network's kernels share. See SelectPatterns.
const Pattern Type = "pattern"

// maxM bounds the groups of N:M.
const maxM = 32

var (
	nmType    = regexp.MustCompile(`^([1-9][0-9]?):([1-9][0-9]?)$`)
	blockType = regexp.MustCompile(`^block([1-9][0-9]{0,3})x([1-9][0-9]{0,3})$`)
)

// parseStructure reads the types that are not among Types.
func parseStructure(name string) (Type, bool) {
	if name == "block" {
		name = "block4x4"
	}
	t := Type(name)
	_, _, nm := t.NM()
	_, _, block := t.Block()
	return t, nm || block || t == Pattern || t == CoupledFilter
}

// NM are the numbers of an N:M type such as 2:4, for which 0 < N < M <= 32: of every M consecutive input channels of one output, at one
// place of the kernel, the N of largest magnitude stay (arXiv 2102.04010).
func (t Type) NM() (n, m int64, ok bool) {
	n, m, ok = t.numbers(nmType)
	return n, m, ok && n < m && m <= maxM
}

// Block is the size of a type such as block4x4: the weight as the matrix [outputs, everything else] is cut into blocks of so many rows and
// columns, smaller at its lower and right edges, and those of least l2 norm go. A ratio counts blocks.
func (t Type) Block() (rows, columns int64, ok bool) { return t.numbers(blockType) }

func (t Type) numbers(form *regexp.Regexp) (a, b int64, ok bool) {
	found := form.FindStringSubmatch(string(t))
	if found == nil {
		return 0, 0, false
	}
	a, _ = strconv.ParseInt(found[1], 10, 64) // a few digits
	b, _ = strconv.ParseInt(found[2], 10, 64)
	return a, b, true
}

// Implied is the fraction that the type itself removes of a layer; ok is false for the types that need to be told.
func (t Type) Implied() (ratio float64, ok bool) {
	if n, m, ok := t.NM(); ok {
		return float64(m-n) / float64(m), true
	}
	if t == Pattern {
		return float64(9-patternKeeps) / 9, true
	}
	return 0, false
}

// misfit says what of a layer's shape the type cannot prune; empty where it can. The kind of layer is prunes' matter.
func (t Type) misfit(l Info) string {
	if _, m, ok := t.NM(); ok && (len(l.Shape) < 2 || l.Shape[1]%m != 0) {
		inputs := int64(1)
		if len(l.Shape) > 1 {
			inputs = l.Shape[1]
		}
		return fmt.Sprintf("has %d inputs, of which %s pruning needs a multiple of %d", inputs, t, m)
	}
	if t == CoupledFilter && l.Group == 0 {
		return "makes the classes, or channels that go on in a way that is not followed, and of these none can go"
	}
	if t == Pattern && l.Kind == Conv && !threeByThree(l.Shape) {
		return fmt.Sprintf("has kernels of %s, and pattern pruning is for 3x3", kernel(l.Shape))
	}
	return ""
}

func threeByThree(shape []int64) bool { return len(shape) == 4 && shape[2] == 3 && shape[3] == 3 }

func kernel(shape []int64) string {
	if len(shape) != 4 {
		return "no size"
	}
	return fmt.Sprintf("%dx%d", shape[2], shape[3])
}

// structured is the mask of the types that are not among Types, which removes k groups; for N:M and patterns their own number.
func structured(w torch.Tensor, t Type, k int64) (mask torch.Tensor, ok bool) {
	if n, m, ok := t.NM(); ok {
		return keepOfEach(w, n, m), true
	}
	if rows, columns, ok := t.Block(); ok {
		return keepBlocks(w, rows, columns, k), true
	}
	if t == Pattern {
		return MaskPatterns(w, SelectPatterns(w)), true
	}
	return torch.Tensor{}, false
}

// keepOfEach keeps the n largest of every m inputs.
func keepOfEach(w torch.Tensor, n, m int64) torch.Tensor {
	shape := w.Shape()
	if len(shape) < 2 || shape[1]%m != 0 {
		w.Session().Fail(fmt.Errorf("%d:%d pruning needs a weight whose second size is a multiple of %d, not one of shape %v", n, m, m, shape))
		return torch.Tensor{}
	}
	size := w.Abs().Reshape(shape[0], shape[1]/m, m, -1)
	_, order := size.Sort(2, false) // equal ones in their order: of them the lowest index goes first
	return size.ZerosLike().Fill_(1).Scatter(2, order.Narrow(2, 0, m-n), 0).Reshape(shape...)
}

// keepBlocks drops the k blocks of least norm, of equals those that come first, row by row.
func keepBlocks(w torch.Tensor, rows, columns, k int64) torch.Tensor {
	shape := w.Shape()
	height, width := matrix(shape)
	down, across := blocks(height, rows), blocks(width, columns)
	// What is padded is zero, and adds nothing to a norm. The sums are in float64 as those of norms.
	whole := w.Reshape(height, width).To(torch.Float64).Pad(0, 0, across*columns-width, 0, down*rows-height)
	kept := whole.Reshape(down, rows, across, columns).Norm(1, 3).To(torch.Float32).MaskSmallest(k)
	return kept.Reshape(down, 1, across, 1).Expand(down, rows, across, columns).Reshape(down*rows, across*columns).
		Narrow(0, 0, height).Narrow(1, 0, width).Reshape(shape...)
}

// matrix is the size of a weight as [outputs, everything else].
func matrix(shape []int64) (rows, columns int64) {
	rows, columns = 1, 1
	for i, d := range shape {
		if i == 0 {
			rows = d
		} else {
			columns *= d
		}
	}
	return rows, columns
}

// blocks is how many blocks of a size cover n.
func blocks(n, size int64) int64 { return (n + size - 1) / size }
