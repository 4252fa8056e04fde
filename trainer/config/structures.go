package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The sparsity types that hold numbers: N:M, and blocks of R rows and C columns.
var (
	nmTypes    = regexp.MustCompile(`^([1-9][0-9]?):([1-9][0-9]?)$`)
	blockTypes = regexp.MustCompile(`^block[1-9][0-9]{0,3}x[1-9][0-9]{0,3}$`)
)

const mostM = 32

// channelTypes are those that remove whole channels.
var channelTypes = []string{"filter", "coupled_filter", "bn_filter"}

// keepsOf are the numbers of an N:M type.
func keepsOf(sparsityType string) (n, m int, ok bool) {
	found := nmTypes.FindStringSubmatch(sparsityType)
	if found == nil {
		return 0, 0, false
	}
	n, _ = strconv.Atoi(found[1]) // one digit or two
	m, _ = strconv.Atoi(found[2])
	return n, m, n < m && m <= mostM
}

// impliedRatio is what a sparsity type itself removes of a layer; ok is false for those that need a ratio.
func impliedRatio(sparsityType string) (ratio Number, ok bool) {
	if n, m, ok := keepsOf(sparsityType); ok {
		return Number(float64(m-n) / float64(m)), true
	}
	return 5.0 / 9, sparsityType == "pattern"
}

// structure checks the sparsity type, and that nothing is asked of it but the ratio that it implies.
func (v *checker) structure(p *Prune) {
	if _, _, nm := keepsOf(p.SparsityType); !nm && !blockTypes.MatchString(p.SparsityType) && !slices.Contains(sparsityTypes, p.SparsityType) {
		hint := ""
		if near := nearest(p.SparsityType, sparsityTypes); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		v.fail("prune.sparsity_type", "is %q: one of %s, blocks of another size such as block8x1, or N:M such as 2:4, with N below M and M at most %d, is needed%s",
			clip(p.SparsityType), strings.Join(sparsityTypes, ", "), mostM, hint)
		return
	}
	v.atLeast("prune.round_to", p.RoundTo, 1)
	if p.RoundTo > 1 && !slices.Contains(channelTypes, p.SparsityType) {
		v.relate("prune.round_to", "is %d, but %s removes no channels, as %s do", p.RoundTo, p.SparsityType, strings.Join(channelTypes, ", "))
	}
	own, ok := impliedRatio(p.SparsityType)
	if !ok {
		return
	}
	other := func(r Number) bool { return r > 0 && r < 1 && math.Abs(float64(r-own)) > 1e-9 }
	if other(p.Ratio) {
		v.relate("prune.ratio", "is %v, but %s removes %.6g of a layer: leave it out, or give 0 to prune the layers of prune.ratios alone", p.Ratio, p.SparsityType, float64(own))
	}
	for _, one := range p.Ratios {
		if other(one.Ratio) {
			v.relate("prune.ratios."+one.Layer, "is %v, but %s removes %.6g of a layer: that, or 0 to leave the layer out, is needed", one.Ratio, p.SparsityType, float64(own))
		}
	}
	if p.Steps.Count != 0 || len(p.Steps.List) > 0 {
		v.relate("prune.steps", "is given, but %s removes its part of a layer at once: leave it out", p.SparsityType)
	}
	if slices.Contains(v.cfg.Evaluate.Baselines, "gradual") {
		v.relate("evaluate.baselines", "holds gradual, but %s removes its part of a layer at once", p.SparsityType)
	}
}
