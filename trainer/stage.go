package trainer

import (
	"context"
	"fmt"
	"math"
	"time"

	"go.uber.org/zap"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/datasets"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// stage is one training of the model: pretrain, admm, retrain, one that quantises, or a baseline.
type stage struct {
	name     string
	section  string // of the config, which describes it
	conf     config.Stage
	plan     *pruning
	quant    *quantStage // what it quantises; nil where it prunes
	from     string      // the stage whose best model it starts from; empty: the initial model
	fresh    bool        // from "" it starts from an initialisation of its own, not the run's
	natural  bool        // trains on images as they are, whatever training.method says
	admm     bool        // nears the weights to their pruned copy
	mask     masking     // what is zero from the beginning, and stays so
	small    bool        // of the network that is left without the channels that pruning emptied
	baseline bool
	chosen   bool  // to be run now, not only reported where it is done
	offset   int64 // the run's steps before it

	saved   progress  // of an earlier run, or of this one
	began   time.Time // this process's part of it
	before  float64   // seconds of earlier ones
	entered int       // steps of the present epoch that an earlier process did
	opt     torch.Optimizer
	split   *admm.State    // W, Z and U
	pulled  []torch.Tensor // the gradients of split's layers
	masks   *masks
	held    *heldLevels // the weights that are on their levels in this stage
	target  *objective

	average *average            // of the weights; nil where training.ema_decay is 0
	noise   torch.Tensor        // free's; absent elsewhere
	awp     *weightPerturbation // nil where training.awp_gamma is 0
}

// progress is what a checkpoint's .json holds of a stage.
type progress struct {
	Stage      string               `json:"stage"`
	Epoch      int                  `json:"epoch"` // epochs ended
	Step       int                  `json:"step"`  // steps of the next epoch done
	EpochSteps int                  `json:"steps_per_epoch,omitempty"`
	Loss       float64              `json:"loss"` // sums over those steps
	Right      float64              `json:"right"`
	Clean      float64              `json:"clean"` // adversarial stages: accuracy on the last logged step's images as they are
	Steps      int64                `json:"optimizer_steps"`
	Rho        float64              `json:"rho,omitempty"`         // of the layers' the largest
	Rhos       []float64            `json:"rhos,omitempty"`        // the layers', aligned with those that are pruned
	Updates    int                  `json:"updates,omitempty"`     // of Z and U
	History    []admm.Iteration     `json:"history,omitempty"`     // the last few
	ADMM       *metrics.ADMM        `json:"admm,omitempty"`        // the verdict at the stage's end
	Best       float64              `json:"best"`                  // validation accuracy of the best model so far
	BestEpoch  int                  `json:"best_epoch"`            // counted from 1
	Stopped    bool                 `json:"stopped,omitempty"`     // ended before its last epoch
	AttackStep float64              `json:"attack_step,omitempty"` // of fgsm_rs, once its guard has lowered it
	Collapses  int                  `json:"collapses,omitempty"`   // that the guard has seen
	Collapsed  map[string]float64   `json:"collapsed,omitempty"`   // accuracies of the model that the present epoch's end went back from
	Seconds    float64              `json:"seconds"`               // all of the stage
	EpochFrom  float64              `json:"epoch_from,omitempty"`  // of them before the present epoch
	Training   float64              `json:"training"`              // in training steps
	Images     int64                `json:"images"`                // in training steps
	Validation map[string]float64   `json:"validation,omitempty"`
	Reduction  *metrics.Reduction   `json:"reduction,omitempty"` // what taking out channels made of the network that the stage began with
	Done       bool                 `json:"done"`
	Result     *metrics.StageResult `json:"result,omitempty"`
}

// spent is the stage's time so far, in seconds.
func (st *stage) spent() float64 { return st.before + time.Since(st.began).Seconds() }

// stage runs st from wherever it stands to its end, and measures its model on the test set.
func (p *pipeline) stage(ctx context.Context, st *stage) (*metrics.StageResult, error) {
	if st.saved.Done {
		p.log.Info("done before", zap.String("stage", st.name))
		return st.saved.Result, nil
	}
	st.began, st.before = time.Now(), st.saved.Seconds
	lead := p.team.members[0]
	var result *metrics.StageResult
	var err error
	lead.s.Do(func() { // the stage's masks, Z and U end with it
		defer p.team.stopRecording()
		if err = p.settle(ctx, st); err != nil {
			return
		}
		if err = p.begin(st); err != nil {
			return
		}
		for st.saved.Epoch < st.conf.Epochs && !st.saved.Stopped {
			if err = p.epoch(ctx, st); err != nil {
				return
			}
			if err = p.save(st, "last"); err != nil {
				return
			}
		}
		result, err = p.finish(ctx, st)
	})
	return result, err
}

// begin sets the model, the optimizer and what prunes to where the stage stands.
func (p *pipeline) begin(st *stage) error {
	lead := p.team.members[0]
	resumed := st.saved.Stage != ""
	err := p.startModel(st, resumed)
	if err != nil {
		return err
	}
	params := lead.params
	if st.quant != nil {
		if params, err = p.beginQuant(st); err != nil {
			return err
		}
	}
	switch st.conf.Optimizer {
	case "sgd":
		st.opt = torch.SGD(params, float64(st.conf.Momentum), float64(st.conf.WeightDecay), st.conf.Nesterov)
	default:
		st.opt = torch.Adam(params, float64(st.conf.WeightDecay))
	}
	st.target = p.objectiveOf(st)
	p.record()
	if err := p.usePatterns(st); err != nil {
		return err
	}
	if st.admm && st.quant == nil {
		st.split = admm.New(lead.s, st.plan.layers, rhoOptions(st))
		for _, at := range st.plan.index {
			st.pulled = append(st.pulled, lead.grads[at])
		}
	}
	if st.quant == nil {
		st.masks, err = p.masksOf(st)
	}
	if err != nil {
		return err
	}
	if err := p.beginMethod(st); err != nil {
		return err
	}
	if resumed {
		if err := p.restore(st); err != nil {
			return err
		}
		p.log.Info("going on", zap.String("stage", st.name), zap.Int("epoch", st.saved.Epoch+1), zap.Int("step", st.saved.Step))
	} else {
		st.saved = progress{Stage: st.name, Best: -1, EpochSteps: p.stepsPerEpoch()}
		if p.start != nil {
			st.saved.Reduction = p.start.reduction
		}
		p.log.Info("begins", zap.String("stage", st.name), zap.Int("epochs", st.conf.Epochs))
	}
	if st.masks != nil {
		st.masks.apply(lead.s)
	}
	if !resumed {
		st.average.restart(lead.s)
	}
	return lead.s.Err()
}

// epoch trains from the present step to the epoch's end, validates, and updates Z and U where that is due.
func (p *pipeline) epoch(ctx context.Context, st *stage) error {
	epoch := st.saved.Epoch
	if st.saved.Step == 0 {
		st.saved.EpochFrom = st.spent()
	}
	order := datasets.Order(key(p.cfg.Run.Seed, st.name), epoch, p.train.n)
	if err := p.team.useOrder(order); err != nil {
		return err
	}
	p.useAWP(st, epoch)
	steps := p.stepsPerEpoch()
	p.startProgress(st, steps)
	defer p.progress.Done()
	if st.saved.Step == 0 && 0 < epoch && epoch < st.mask.gradual {
		if err := p.pruneFurther(st); err != nil {
			return err
		}
	}
	for st.saved.Step < steps {
		if ctx.Err() != nil {
			return p.interrupted(st)
		}
		if err := p.nextStep(st, order, steps); err != nil {
			return err
		}
	}
	p.progress.Done()
	err := p.endEpoch(ctx, st)
	switch err {
	case ErrInterrupted:
		return p.interrupted(st)
	case errNotFinite:
		return p.notFinite(st, epoch, steps-1)
	}
	return err
}

func (p *pipeline) startProgress(st *stage, steps int) {
	title := fmt.Sprintf("%s %d/%d", st.name, st.saved.Epoch+1, st.conf.Epochs)
	if st.entered = st.saved.Step; st.entered > 0 {
		title += fmt.Sprintf(" from step %d", st.entered+1)
	}
	p.progress.Start(title, (steps-st.entered)*p.cfg.Data.BatchSize)
}

// pruneFurther puts a larger mask in the place of the last epoch's, where a stage prunes gradually.
func (p *pipeline) pruneFurther(st *stage) error {
	lead, before := p.team.members[0], st.masks
	now, err := p.masksOf(st)
	if err != nil {
		return err
	}
	st.masks = now
	st.masks.apply(lead.s)
	st.average.hold(lead.s, st.masks)
	if st.awp != nil {
		st.awp.hold(st.masks)
		p.record()
	}
	lead.s.Free(before.masks...)
	return lead.s.Err()
}

// nextStep takes the step that is due, on its batch of the epoch's order, and logs and saves where that is due after it.
func (p *pipeline) nextStep(st *stage, order []int64, steps int) error {
	at := time.Now()
	batch, epoch, i := p.cfg.Data.BatchSize, st.saved.Epoch, st.saved.Step
	ids := order[i*batch : min((i+1)*batch, len(order))]
	if p.next = nil; i+1 < steps {
		p.next = order[(i+1)*batch : min((i+2)*batch, len(order))]
	}
	if err := p.step(st, ids, epoch, i); err != nil {
		return err
	}
	st.saved.Step++
	st.saved.Images += int64(len(ids))
	if st.saved.Step%p.cfg.Run.LogEvery == 0 || st.saved.Step == steps {
		if err := p.logStep(st, ids, epoch, steps); err != nil {
			return err
		}
	}
	st.saved.Training += time.Since(at).Seconds()
	if st.saved.Step < steps {
		return p.saveWithin(st)
	}
	return nil
}

func (p *pipeline) interrupted(st *stage) error {
	if err := p.addTotals(st); err != nil {
		return err
	}
	if err := p.save(st, "last"); err != nil {
		return err
	}
	if err := p.run.Wait(); err != nil {
		return err
	}
	return ErrInterrupted
}

// step is one update of the weights from the images ids; under free several.
func (p *pipeline) step(st *stage, ids []int64, epoch, i int) error {
	replays := max(1, st.target.replays)
	for r := range replays {
		if err := p.gradient(st, ids, epoch, i); err != nil {
			return err
		}
		p.team.reduce()
		at := i*replays + r
		p.update(st, epoch, at, p.stepsPerEpoch()*replays)
	}
	return p.team.members[0].s.Err()
}

// gradient leaves that of a batch with the team's members. Replays of a batch have one seed, and so the same images.
func (p *pipeline) gradient(st *stage, ids []int64, epoch, i int) error {
	n := len(p.team.members)
	augment := key(p.cfg.Run.Seed, "augment", st.name, epoch)
	parts := func(id int) part {
		return part{index: shard(ids, id, n), next: shard(p.next, id, n), total: len(ids), seed: key(p.cfg.Run.Seed, st.name, epoch, i, id), augment: augment}
	}
	var err error
	if st.target.awp != nil && n > 1 {
		err = p.perturbedGradient(st.target, parts)
	} else if err = p.roomToRecord(len(ids)); err == nil {
		err = p.team.each(func(m *member) error { return m.gradient(st.target, p.train, parts(m.id)) })
		p.recorded()
	}
	if err == errNotFinite {
		return p.notFinite(st, epoch, i)
	}
	return err
}

// update moves the weights by the team's gradient. It is number at of the epoch's.
func (p *pipeline) update(st *stage, epoch, at, all int) {
	lead := p.team.members[0]
	if st.split != nil {
		st.split.AddGrad(st.pulled)
	}
	if st.masks != nil {
		lead.s.MulLists_(st.masks.grads, st.masks.masks)
	}
	st.opt.Step(lead.grads, learningRate(st.conf, epoch, float64(at)/float64(all)))
	if st.masks != nil {
		st.masks.apply(lead.s)
	}
	if st.held != nil {
		st.held.settle(lead.s)
	}
	st.average.follow(lead.s, epoch*all+at)
}

func (p *pipeline) stepsPerEpoch() int {
	batch := p.cfg.Data.BatchSize
	steps := p.parts.Train.N / batch
	// Batch norm needs two images a worker; a smaller rest is left out of the epoch.
	if rest := p.parts.Train.N % batch; rest >= 2*len(p.team.members) || steps == 0 {
		steps++
	}
	return steps
}

// addTotals reads the sums that the members kept on their devices.
func (p *pipeline) addTotals(st *stage) error {
	loss, right, err := p.team.totals()
	if err != nil {
		return err
	}
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return p.notFinite(st, st.saved.Epoch, st.saved.Step-1)
	}
	st.saved.Loss += loss
	st.saved.Right += right
	return nil
}

// logStep logs the epoch so far, and for an adversarial stage the clean accuracy on the step's own images.
func (p *pipeline) logStep(st *stage, ids []int64, epoch, steps int) error {
	if err := p.addTotals(st); err != nil {
		return err
	}
	seen := float64(min(st.saved.Step*p.cfg.Data.BatchSize, p.train.n))
	p.progress.Update(int(seen)-st.entered*p.cfg.Data.BatchSize, st.saved.Loss/seen, st.saved.Right/seen)
	values := map[string]float64{"train/loss": st.saved.Loss / seen, accuracyName(st): st.saved.Right / seen,
		"train/lr": learningRate(st.conf, epoch, float64(st.saved.Step-1)/float64(steps))}
	if !st.target.natural() {
		clean, err := p.cleanAccuracy(ids)
		if err != nil {
			return err
		}
		st.saved.Clean, values["train/clean_acc"] = clean, clean
	}
	return p.metrics.Log(st.name, epoch+1, st.offset+int64(epoch*steps+st.saved.Step), values)
}

func accuracyName(st *stage) string {
	if st.target.natural() {
		return "train/clean_acc"
	}
	return "train/adv_acc"
}

func percent(x float64) string { return fmt.Sprintf("%.2f%%", 100*x) }
