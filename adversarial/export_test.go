package adversarial

// For tests of the parts that attacks are made of.
var (
	Into        = into
	ToPlane     = toPlane
	Checkpoints = checkpoints
	WindowShare = windowShare
	DLR         = dlr
	DLRTo       = dlrTo
	Margin      = margin
)

// Window is the side of Square Attack's i-th window.
func Window(i, h, w int, n Norm) int { return square{norm: n}.window(i, h, w) }

// Eta is Square Attack's L2 pattern, as image id draws it.
func Eta(side int, id int64) []float32 {
	p := picture{1, side, side, 1, map[int][]float32{}}
	return p.eta(&search{draw: stream(1, "eta", 0, id)}, side)
}
