package applesilicon_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/mlops-integration/mlops/applesilicon"
)

func ExampleMachine_Watch() {
	ctx := context.Background()
	m, err := applesilicon.Open(ctx, applesilicon.Options{})
	if err != nil {
		log.Print(err)
		return
	}
	defer m.Close()
	for s, err := range m.Watch(ctx, time.Second) {
		if err != nil {
			log.Print(err)
			return
		}
		if w := s.Power.PackageWatts; w.OK {
			fmt.Println(s.Chip.Name.Value, w.Value, "W")
		} else {
			fmt.Println("no power:", w.Reason) // "CPU: gated by the system"
		}
	}
}
