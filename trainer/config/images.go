package config

// maxImageSide is far above what a network here is trained on.
const maxImageSide = 4096

// images checks the keys of images that are files of their own.
func (v *checker) images(d *Data) {
	v.word("data.on_error", d.OnError, []string{"refuse", "skip"})
	v.fraction("data.test_fraction", d.TestFraction)
	if d.Size < 0 || d.Size > maxImageSide {
		v.fail("data.size", "is %d: a side of 1 to %d pixels, or 0 for the images' own, is needed", d.Size, maxImageSide)
	}
	if d.Dataset == "image_folder" {
		if d.Dir == "" {
			v.fail("data.dir", "is missing: image_folder needs the folder, .tar, .tar.gz or .tar.xz that holds a folder of images a class")
		}
		return
	}
	if d.Size != 0 {
		v.relate("data.size", "is %d: only the images of image_folder are scaled", d.Size)
	}
	if d.TestFraction != 0 {
		v.relate("data.test_fraction", "is %v: %s has a test set of its own; only image_folder may not", d.TestFraction, clip(d.Dataset))
	}
}
