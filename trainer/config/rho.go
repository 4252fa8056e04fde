package config

var rhoModes = []string{"growth", "fixed", "balance"}

// completeRho fills in what says how the rho of an ADMM stage moves.
func (c *Config) completeRho(name string, s *Stage) {
	fill(c, name+".rho", &s.Rho, 1e-3)
	fill(c, name+".rho_mode", &s.RhoMode, "growth")
	if s.RhoMode == "growth" {
		fill(c, name+".rho_growth", &s.RhoGrowth, 1.3)
	}
}

// rho checks what says how the rho of an ADMM stage moves.
func (v *checker) rho(name string, s *Stage) {
	v.positive(name+".rho", s.Rho)
	v.word(name+".rho_mode", s.RhoMode, rhoModes)
	switch {
	case s.RhoMode == "growth" && !(s.RhoGrowth >= 1):
		v.fail(name+".rho_growth", "is %v: a factor of 1 or more is needed", s.RhoGrowth)
	case (s.RhoMode == "fixed" || s.RhoMode == "balance") && s.RhoGrowth != 0:
		v.relate(name+".rho_growth", "is %v, but %s.rho_mode is %s, and only growth uses it: leave it out (--set %s.rho_growth=null)", s.RhoGrowth, name, s.RhoMode, name)
	}
}
