package compose

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// postgresSystemUser is who PostgreSQL runs as when we are root. Nothing else
// of the machine runs as that user, so nothing else may read the databases or
// signal their server.
const postgresSystemUser = "mlops-postgres"

// postgresOwner is the user that PostgreSQL runs as when we are root: the owner
// of the data, if there are any, else the system user, which is made at first
// use. It needs a name: initdb looks it up.
func postgresOwner(data string) (uid, gid int, err error) {
	if info, err := os.Stat(data); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			return int(st.Uid), int(st.Gid), nil
		}
	}
	if uid, gid, ok := lookupUser(postgresSystemUser); ok {
		return uid, gid, nil
	}
	for _, make := range [][]string{ // of Debian, Red Hat and their kin; of Alpine
		{"useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", postgresSystemUser},
		{"adduser", "-S", "-D", "-H", "-h", "/nonexistent", "-s", "/sbin/nologin", postgresSystemUser},
	} {
		for range 3 { // another process may hold the lock of the user database
			err := exec.Command(make[0], make[1:]...).Run()
			if uid, gid, ok := lookupUser(postgresSystemUser); ok {
				return uid, gid, nil
			}
			if errors.Is(err, exec.ErrNotFound) {
				break
			}
		}
	}
	for _, name := range []string{"nobody", "postgres", "daemon"} { // a machine whose users cannot be changed
		if uid, gid, ok := lookupUser(name); ok {
			return uid, gid, nil
		}
	}
	return 0, 0, errors.New("PostgreSQL does not run as root, and no user could be made to run it as; run: useradd --system " + postgresSystemUser)
}

// lookupUser returns the numbers of a user that is not root.
func lookupUser(name string) (uid, gid int, ok bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, false
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return int(uint32(uid)), int(uint32(gid)), err1 == nil && err2 == nil && uid != 0
}
