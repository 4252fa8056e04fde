package page

import (
	_ "embed"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"rapt/trainer/metrics"
)

//go:embed page.html
var source string

// sheet is what the template shows.
type sheet struct {
	Runs     []*Run
	Several  bool
	Attacks  []string
	Models   []Model // of a single run all, of several how each ended
	TradeOff *Figure
	Version  string
}

// Model is a stage's or a baseline's.
type Model struct {
	Run string
	metrics.StageResult
}

// Write writes runs as one HTML page, by this version of the program.
func Write(w io.Writer, runs []*Run, version string) error {
	name(runs)
	s := sheet{Runs: runs, Several: len(runs) > 1, Version: version}
	var points []point
	for _, r := range runs {
		all, ends := r.Models(), r.ends()
		s.Attacks = append(s.Attacks, attacksOf(all)...)
		if s.Several {
			s.Models = append(s.Models, ends...)
		} else {
			s.Models = all
		}
		for _, m := range ends {
			name := m.Stage
			if s.Several {
				name = r.Name + " " + name
			}
			points = append(points, point{name, m.Sparsity, m.CleanAccuracy, worst(m.StageResult)})
		}
	}
	s.Attacks = metrics.SortAttacks(s.Attacks)
	var err error
	if s.TradeOff, err = tradeOff(points); err != nil {
		return err
	}
	t, err := template.New("page").Funcs(template.FuncMap{"percent": metrics.Percent, "times": metrics.Times, "seconds": metrics.Seconds, "robust": robust, "join": strings.Join}).Parse(source)
	if err != nil {
		return err
	}
	return t.Execute(w, s)
}

// name tells runs apart by their folders' paths where the folders' own names do not.
func name(runs []*Run) {
	times := map[string]int{}
	for _, r := range runs {
		times[r.Name]++
	}
	for _, r := range runs {
		if times[r.Name] > 1 {
			r.Name = r.Folder
		}
	}
}

// Attacks are those that the run's models were tested with.
func (r *Run) Attacks() []string { return metrics.SortAttacks(attacksOf(r.Models())) }

func attacksOf(models []Model) (out []string) {
	for _, m := range models {
		out = append(out, slices.Collect(maps.Keys(m.RobustAccuracy))...)
	}
	return out
}

// Models are the run's stages and baselines.
func (r *Run) Models() (out []Model) {
	if r.Report == nil {
		return nil
	}
	for _, s := range slices.Concat(r.Report.Stages, r.Report.Baselines) {
		out = append(out, Model{r.Name, s})
	}
	return out
}

// ends are the models to be compared with other runs': the pretrained one, the last stage's and the baselines.
func (r *Run) ends() []Model {
	all := r.Models()
	if r.Report == nil || len(r.Report.Stages) < 3 {
		return all
	}
	return slices.Delete(all, 1, len(r.Report.Stages)-1)
}

// worst is the share of images that stand every attack; NaN where there was none.
func worst(s metrics.StageResult) float64 {
	if s.WorstCase != nil && len(s.RobustAccuracy) > 0 {
		return *s.WorstCase
	}
	least := math.NaN()
	for _, v := range s.RobustAccuracy {
		if !(v >= least) {
			least = v
		}
	}
	return least
}

// robust is one attack's cell.
func robust(s metrics.StageResult, attack string) string {
	if v, ok := s.RobustAccuracy[attack]; ok {
		return metrics.Percent(v)
	}
	return ""
}

// Stage is the one that a run under way is in.
func (r *Run) Stage() string { return r.Epochs[len(r.Epochs)-1].Stage }

// Several is false: the table of a run's models does not name the run.
func (*Run) Several() bool { return false }
