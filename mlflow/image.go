package mlflow

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"path"
	"regexp"
	"strings"
	"time"
)

// LogImage stores an image at artifactPath, in the form that its ending tells:
// .png, .jpg, .jpeg or .gif.
func (r *Run) LogImage(ctx context.Context, img image.Image, artifactPath string) error {
	var b bytes.Buffer
	var err error
	if img == nil || img.Bounds().Empty() {
		return invalid("LogImage", "image %q is empty", artifactPath)
	}
	switch ext := strings.ToLower(path.Ext(artifactPath)); ext {
	case ".png":
		err = png.Encode(&b, img)
	case ".jpg", ".jpeg":
		err = jpeg.Encode(&b, img, &jpeg.Options{Quality: 90})
	case ".gif":
		err = gif.Encode(&b, img, nil)
	default:
		return invalid("LogImage", "image %q: want a path that ends in .png, .jpg, .jpeg or .gif", artifactPath)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", artifactPath, err)
	}
	return r.logBytes(ctx, b.Bytes(), artifactPath)
}

const (
	imageTag  = "mlflow.loggedImages" // the UI shows image charts for runs that have it
	thumbSize = 256
)

var imageKey = regexp.MustCompile(`^[a-zA-Z0-9_\-./ ]+$`)

// LogImageAt stores an image of a step under a key, with the small copy that
// MLflow's UI shows in its image grids. Several images may have one key and
// step.
//
// Form: what mlflow.log_image(image, key=…, step=…) of MLflow 3.17 writes:
// images/<key>+step+<step>+timestamp+<ms>+<uuid>.png, and …+compressed.webp.
func (r *Run) LogImageAt(ctx context.Context, step int64, key string, img image.Image) error {
	if !imageKey.MatchString(key) {
		return invalid("LogImageAt", "image key %q: want letters, digits, spaces and _ - . /", key)
	}
	uid := newUID()
	name := fmt.Sprintf("images/%s+step+%d+timestamp+%d+%s-%s-%s-%s-%s", strings.ReplaceAll(key, "/", "~"), step, time.Now().UnixMilli(),
		uid[:8], uid[8:12], uid[12:16], uid[16:20], uid[20:])
	if err := r.LogImage(ctx, img, name+".png"); err != nil {
		return err
	}
	if err := r.logBytes(ctx, webp(thumbnail(img, thumbSize)), name+"+compressed.webp"); err != nil {
		return err
	}
	return r.SetTag(ctx, imageTag, "True")
}

// thumbnail is img in at most size × size, each pixel the mean of those that it
// stands for.
func thumbnail(img image.Image, size int) *image.NRGBA {
	b := img.Bounds()
	full := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(full, full.Bounds(), img, b.Min, draw.Src)
	w, h := b.Dx(), b.Dy()
	if w <= size && h <= size {
		return full
	}
	most := max(w, h)
	out := image.NewNRGBA(image.Rect(0, 0, max(1, w*size/most), max(1, h*size/most)))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			out.SetNRGBA(x, y, mean(full, image.Rect(x*w/out.Rect.Dx(), y*h/out.Rect.Dy(), (x+1)*w/out.Rect.Dx(), (y+1)*h/out.Rect.Dy())))
		}
	}
	return out
}

// mean is the colour of a part of img, weighted by opacity.
func mean(img *image.NRGBA, part image.Rectangle) color.NRGBA {
	var r, g, b, a, n uint64
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			c := img.NRGBAAt(x, y)
			w := uint64(c.A)
			r, g, b, a, n = r+uint64(c.R)*w, g+uint64(c.G)*w, b+uint64(c.B)*w, a+w, n+1
		}
	}
	if a == 0 {
		return color.NRGBA{}
	}
	return color.NRGBA{uint8(r / a), uint8(g / a), uint8(b / a), uint8(a / n)}
}
