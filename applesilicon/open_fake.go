//go:build linux && applefake

package applesilicon

// stub is a library that stands for all of Apple's, for tests; empty: none.
var stub string

func openNative(process int, light bool) (source, error) {
	if stub == "" {
		return nil, unsupported("Open", notApple)
	}
	return newNative(openFFI(func(string) string { return stub }), process, light), nil
}
