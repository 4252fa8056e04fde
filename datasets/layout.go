package datasets

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
)

// layout is which images are of which part and class. Both parts are sorted by class, and within it by name.
type layout struct {
	classes     []string // sorted
	train, test []labelled
}

type labelled struct {
	sample
	label uint16
}

// placed is an image's place: its part ("" where there are no parts), its class, and the sample.
type placed struct {
	part, class string
	sample
}

// arrange reads the folders' names: CLASS/.., or train/CLASS/.. and test/CLASS/.. (or val, where there is no test), all of it
// perhaps within one more folder.
func arrange(samples []sample, folders []string, broken int) (*layout, error) {
	if len(samples) == 0 {
		if broken > 0 {
			return nil, fmt.Errorf("all of its %d images are broken", broken)
		}
		return nil, errors.New("it holds no JPEG, PNG or WebP images; one folder of them a class is needed")
	}
	if err := noneEmpty(samples, folders); err != nil {
		return nil, err
	}
	all, err := place(samples)
	if err != nil {
		return nil, err
	}
	l := new(layout)
	if l.classes, err = classesOf(all); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(strings.Compare(a.class, b.class), strings.Compare(a.name, b.name))
	})
	for _, p := range all {
		label, _ := slices.BinarySearch(l.classes, p.class)
		if one := (labelled{p.sample, uint16(label)}); p.part == "" || p.part == "train" {
			l.train = append(l.train, one)
		} else {
			l.test = append(l.test, one)
		}
	}
	return l, nil
}

// noneEmpty refuses a folder without images: a class that would go missing unseen.
func noneEmpty(samples []sample, folders []string) error {
	filled := map[string]bool{}
	for _, s := range samples {
		for at := path.Dir(s.name); at != "." && !filled[at]; at = path.Dir(at) {
			filled[at] = true
		}
	}
	for _, folder := range folders {
		if !filled[folder] {
			return fmt.Errorf("the folder %s holds no images that can be read; remove it, or fill it", folder)
		}
	}
	return nil
}

// place finds each image's part and class.
func place(samples []sample) ([]placed, error) {
	skip := shared(samples)
	all := make([]placed, len(samples))
	top := map[string]bool{}
	for i, s := range samples {
		parts := strings.Split(s.name, "/")[skip:]
		if len(parts) < 2 {
			return nil, fmt.Errorf("%s lies in no class's folder", s.name)
		}
		top[parts[0]] = true
		all[i] = placed{class: parts[0], sample: s}
	}
	testing, ok := partsIn(top)
	if !ok {
		return all, nil
	}
	for i, s := range samples {
		parts := strings.Split(s.name, "/")[skip:]
		if parts[0] != "train" && parts[0] != testing {
			return nil, fmt.Errorf("%s lies beside train and %s; move it away, or into train, of which validation images are held out anyway", parts[0], testing)
		}
		if len(parts) < 3 {
			return nil, fmt.Errorf("%s lies in no class's folder", s.name)
		}
		all[i].part, all[i].class = parts[0], parts[1]
	}
	return all, nil
}

// partsIn tells whether the top folders are parts, and what the test part is called.
func partsIn(top map[string]bool) (testing string, ok bool) {
	for _, name := range []string{"test", "val"} {
		if top["train"] && top[name] {
			return name, true
		}
	}
	return "", false
}

// shared counts the folders that all images lie in, above those of the classes.
func shared(samples []sample) int {
	first := strings.Split(samples[0].name, "/")
	n := max(len(first)-2, 0)
	for _, s := range samples {
		parts := strings.Split(s.name, "/")
		n = min(n, max(len(parts)-2, 0))
		for i := range n {
			if parts[i] != first[i] {
				n = i
				break
			}
		}
	}
	return n
}

// classesOf lists the classes, which must be the training set's.
func classesOf(all []placed) ([]string, error) {
	training, others := map[string]bool{}, map[string]string{}
	for _, p := range all {
		if p.part == "" || p.part == "train" {
			training[p.class] = true
		} else {
			others[p.class] = p.part
		}
	}
	var classes []string
	for class := range training {
		classes = append(classes, class)
	}
	slices.Sort(classes)
	for class, part := range others {
		if !training[class] {
			return nil, fmt.Errorf("the class %s is in %s and not in train", class, part)
		}
	}
	if len(classes) < 2 || len(classes) > math.MaxUint16 {
		return nil, fmt.Errorf("there are %d classes; 2 to %d, each a folder, are needed", len(classes), math.MaxUint16)
	}
	return classes, nil
}
