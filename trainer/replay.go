package trainer

import torch "rapt/cgo"

// useNoise sets free's noise to zero: [batch, channels, height, width], of which every member moves its shard's rows. It goes on from batch to
// batch (Shafahi et al., arXiv 1904.12843, algorithm 1) and lives as long as the team.
func (t *team) useNoise(shape ...int64) error {
	lead := t.members[0]
	if lead.noise != (torch.Tensor{}) {
		lead.noise.Fill_(0)
		return lead.s.Err()
	}
	lead.noise = lead.s.Zeros(shape...)
	lead.s.Keep(lead.noise)
	for _, m := range t.members[1:] {
		if err := onOwn(m, func() error {
			if t.apart {
				m.noise = m.s.Zeros(shape...)
				m.s.Synchronize() // before member 0 writes there
			} else {
				m.noise = m.s.Borrow(lead.noise)
			}
			m.s.Keep(m.noise)
			return m.s.Err()
		}); err != nil {
			return err
		}
		if t.apart {
			m.own.noise = lead.s.Borrow(m.noise)
			lead.s.Keep(m.own.noise)
		}
	}
	return lead.s.Err()
}

// noiseOf is the noise for the member's shard of n images of a batch of total, the same storage outside any graph.
func (m *member) noiseOf(n int64, total int) torch.Tensor {
	return m.noise.Narrow(0, int64(total*m.id/m.of), n)
}

// moveNoise takes it the whole radius along the gradient's sign, and back into the ball: algorithm 1 again.
func moveNoise(noise, grad torch.Tensor, epsilon float64) {
	noise.Add_(grad.Sign(), epsilon).Clamp_(-epsilon, epsilon)
}
