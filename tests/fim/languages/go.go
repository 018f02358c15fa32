package shop

import (
	"fmt"
	"sort"
)

const limit = 3

type Stock struct {
	left map[string]int
}

type Scarcer interface {
	Scarce() []string
}

// Scarce lists what is nearly gone.
func (s *Stock) Scarce() []string {
	var names []string
	for name, n := range s.left {
		if n < limit {
			║names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func Show(s Scarcer) string {
	return fmt.Sprintf("scarce: %v", s.Scarce())
}
