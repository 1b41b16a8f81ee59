package applesilicon

func openNative() (source, error) {
	return newNative(openFFI(func(library string) string { return library })), nil
}
