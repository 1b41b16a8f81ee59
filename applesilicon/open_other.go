//go:build !darwin && !(linux && applefake)

package applesilicon

func openNative() (source, error) { return nil, unsupported("Open", notApple) }
