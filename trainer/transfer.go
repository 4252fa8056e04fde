package trainer

import (
	"context"
	"errors"

	"rapt/trainer/metrics"
)

// EvaluateFrom judges o's model.
func EvaluateFrom(ctx context.Context, source string, o EvalOptions) (*metrics.Report, error) {
	return nil, errors.New("not yet")
}
