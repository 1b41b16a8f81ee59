//go:build !darwin

package applesilicon

import (
	"context"

	"github.com/shirou/gopsutil/v4/cpu"
)

func host(ctx context.Context, s *Sample) {
	s.appleOnly(notApple)
	s.Host.LogicalCores, _ = cpu.CountsWithContext(ctx, true) // unknown is 0
	s.Host.PhysicalCores, _ = cpu.CountsWithContext(ctx, false)
	if infos, err := cpu.InfoWithContext(ctx); err == nil && len(infos) > 0 {
		s.Host.Model = infos[0].ModelName
	}
}
