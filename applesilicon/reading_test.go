package applesilicon

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestJSONHasNullForWhatIsNotKnown(t *testing.T) {
	b, err := json.Marshal([]any{unread[float64](gated), unread[bool](gated), unread[ThermalState](gated), read(0.0, "x"), read(PowerHigh, "")})
	require.NoError(t, err)
	require.JSONEq(t, `[{"value":null,"ok":false,"reason":"gated by the system"},{"value":null,"ok":false,"reason":"gated by the system"},
		{"value":null,"ok":false,"reason":"gated by the system"},{"value":0,"ok":true,"source":"x"},{"value":"high","ok":true}]`, string(b))

	var zeros func(path string, v any)
	zeros = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ok, is := v["ok"].(bool); is && !ok {
				require.Contains(t, v, "value", path)
				require.Nil(t, v["value"], path)
				return
			}
			for k, of := range v {
				zeros(path+"."+k, of)
			}
		case float64:
			require.NotZero(t, v, path)
		}
	}
	s := Sample{Time: time.Unix(1, 0)}
	s.appleOnly(notApple)
	b, err = json.Marshal(s)
	require.NoError(t, err)
	var all any
	require.NoError(t, json.Unmarshal(b, &all))
	zeros("", all)

	var back Reading[float64]
	require.NoError(t, json.Unmarshal([]byte(`{"value":null,"ok":false,"reason":"x"}`), &back))
	require.Equal(t, unread[float64]("x"), back)
}
