package applesilicon

func openNative(process int, light bool) (source, error) {
	return newNative(openFFI(func(library string) string { return library }), process, light), nil
}
