//go:build !darwin && !(linux && applefake)

package applesilicon

func openNative(int, bool) (source, error) { return nil, unsupported("Open", notApple) }
