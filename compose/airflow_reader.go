package compose

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mlops-integration/mlops/internal/stackfile"
)

// airflowReader is the role that may read what waits in Airflow, and nothing
// else. On a busy machine a list of pools takes the API server a second or two,
// the database some milliseconds.
const airflowReader = "mlops_reader"

// readerFile holds the role's password.
func readerFile(s *site) string { return s.data("airflow", "reader") }

// makeAirflowReader makes the role, or gives it the password that it has to have:
// one that follows from a secret of the home, so that there is no further one to lose.
func makeAirflowReader(ctx context.Context, s *site) error {
	session, _, err := s.secret("airflow-session")
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, []byte(session))
	mac.Write([]byte(airflowReader))
	password := hex.EncodeToString(mac.Sum(nil))
	if err := writePrivate(readerFile(s), password); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := postgresConnect(ctx, s, "airflow")
	if err != nil {
		return fmt.Errorf("database of Airflow: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", airflowReader).Scan(&there); err != nil {
		return err
	}
	verb := "create"
	if there {
		verb = "alter"
	}
	for _, statement := range []string{
		"set log_min_error_statement = panic", // no statement, and so no password, in the server's log
		verb + " role " + airflowReader + " login nosuperuser nocreatedb nocreaterole connection limit 8 password '" + password + "'", // hex digits
		"alter role " + airflowReader + " set default_transaction_read_only = on",
		"alter role " + airflowReader + " set statement_timeout = '5s'",
		"grant select on slot_pool, task_instance to " + airflowReader,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			reason := "the connection broke" // err may hold the statement, and that the password
			if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
				reason = pg.Message
			}
			return errors.New("the role that reads Airflow's queue cannot be made: " + reason)
		}
	}
	return nil
}

// readerEndpoint is where the role reads.
func readerEndpoint(s *site) stackfile.Endpoint {
	return stackfile.Endpoint{URL: "postgresql://127.0.0.1:" + strconv.Itoa(s.port("postgres", "sql")) + "/airflow", Username: airflowReader, SecretFile: readerFile(s)}
}
