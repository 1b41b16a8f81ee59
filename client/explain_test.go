package client

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

func TestATurnIsExplainedByWhatItDependsOn(t *testing.T) {
	lease := fairfile.Lease{Max: 4, Budget: 2, Heat: "serious", Reason: "set by hand until 12:00", Limited: "serious"}
	task := airflow.TaskInstance{TaskID: "train", Pool: "mlops.lora"}
	for _, tt := range []struct {
		pool fairfile.Pool
		code airflow.CauseCode
		says string
	}{
		{fairfile.Pool{Cause: "heat"}, airflow.CauseHeat, "task train waits until the machine is cooler: 2 of 4 slots may be used on this machine: serious"},
		{fairfile.Pool{Cause: "energy"}, airflow.CauseEnergy, "task train waits for energy: 2 of 4 slots may be used on this machine: serious"},
		{fairfile.Pool{Cause: "quota"}, airflow.CauseQuota, "the project has what its quota allows"},
		{fairfile.Pool{Cause: "turn", Before: 7}, airflow.CauseTurn, "of the server; 7 slots' worth of work starts first"},
		{fairfile.Pool{Cause: "turn"}, airflow.CauseTurn, "of the server"},
		{fairfile.Pool{}, airflow.CauseTurn, "of the server"},
	} {
		c := turn(airflow.Cause{Code: airflow.CauseTurn, Task: &task, Message: "of the server", Help: "mlopsctl fair status"}, lease, tt.pool)
		require.Equal(t, tt.code, c.Code)
		require.Contains(t, c.Message, tt.says)
		require.NotEmpty(t, c.Help)
	}
}
