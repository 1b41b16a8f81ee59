package compose_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose"
)

// The program on the package's first page.
func Example() {
	s, err := compose.New(compose.Options{Command: "/usr/local/bin/mlopsctl"})
	if err != nil {
		log.Fatal(err)
	}
	st, err := s.Start(context.Background(), compose.StartOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, v := range st.Services {
		fmt.Println(v.Name, v.State, v.URL)
	}
}

func ExampleStack_Start() {
	s, err := compose.New(compose.Options{
		Home:     "/srv/mlops",
		Progress: func(e compose.Event) { fmt.Println(e.Service, e.State, e.Message) },
	})
	if err != nil {
		log.Fatal(err)
	}
	// MLflow alone, on SQLite.
	_, err = s.Start(context.Background(), compose.StartOptions{Light: true, WaitTimeout: time.Minute})
	if e, ok := errors.AsType[*compose.StartError](err); ok {
		fmt.Println(e.Service, "did not start:", e.Reason, "see", e.LogFile)
	}
}

func ExampleStack_Status() {
	home, err := os.MkdirTemp("", "mlops-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)
	s, err := compose.New(compose.Options{Home: home})
	if err != nil {
		log.Fatal(err)
	}
	st, err := s.Status(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(st.State)
	_, err = s.Env(context.Background())
	fmt.Println(errors.Is(err, mlops.ErrNotFound))
	// Output:
	// stopped
	// true
}

func ExampleStack_Plan() {
	home, err := os.MkdirTemp("", "mlops-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)
	s, err := compose.New(compose.Options{Home: home})
	if err != nil {
		log.Fatal(err)
	}
	p, err := s.Plan(context.Background(), compose.StartOptions{Services: []string{"mlflow"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range p.Steps {
		fmt.Println(step.Action, step.Service, step.Reason)
	}
	// Output:
	// start postgres not running
	// start mlflow not running
}

func ExampleStack_Doctor() {
	s, err := compose.New(compose.Options{})
	if err != nil {
		log.Fatal(err)
	}
	findings, err := s.Doctor(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.Severity != compose.SeverityOK {
			fmt.Println(f.Check, f.Message, "try:", f.Fix)
		}
	}
}
