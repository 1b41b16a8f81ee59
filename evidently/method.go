package evidently

// Kind tells what a drift score is, and so which way it points. It is for
// display: whether a column drifted is said by Evidently's own test.
type Kind string

// The kinds of drift scores.
const (
	PValue   Kind = "p-value"  // small means drift
	Distance Kind = "distance" // large means drift
	Unknown  Kind = "unknown"  // a method that this package does not know
)

// method is one of Evidently's drift methods. A report shows the display name
// where Evidently chose the method itself, and the name where it was asked for
// by name; only the name can be asked for.
type method struct {
	name    string
	display string
	kind    Kind
}

// methods lists what Evidently 0.7.23 registers (legacy/calculations/stattests).
// Some names mislead: its TVD and its empirical_mmd give the p-value of a
// permutation test. The text methods give the area under the ROC curve of a
// classifier that tells the two texts apart.
var methods = []method{
	{"anderson", "Anderson-Darling", PValue},
	{"chisquare", "chi-square p_value", PValue},
	{"cramer_von_mises", "Cramer-von Mises", PValue},
	{"ed", "Energy-distance", Distance},
	{"empirical_mmd", "empirical_mmd", PValue},
	{"es", "Epps-Singleton", PValue},
	{"fisher_exact", "Fisher's Exact test", PValue},
	{"g_test", "g_test", PValue},
	{"hellinger", "Hellinger distance", Distance},
	{"jensenshannon", "Jensen-Shannon distance", Distance},
	{"kl_div", "Kullback-Leibler divergence", Distance},
	{"ks", "K-S p_value", PValue},
	{"mannw", "Mann-Whitney U-rank test", PValue},
	{"perc_text_content_drift", "Percentile text content drift", Distance},
	{"abs_text_content_drift", "Absolute text content drift", Distance},
	{"psi", "PSI", Distance},
	{"t_test", "t_test", PValue},
	{"TVD", "Total-Variation-Distance", PValue},
	{"wasserstein", "Wasserstein distance (normed)", Distance},
	{"z", "Z-test p_value", PValue},
}

// methodOf finds a method by its name or display name. One that is not in the
// table is passed on as it is.
func methodOf(s string) method {
	for _, m := range methods {
		if s == m.name || s == m.display {
			return m
		}
	}
	return method{s, s, Unknown}
}
