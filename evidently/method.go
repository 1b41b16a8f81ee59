package evidently

import "slices"

// Kind tells what a drift score is, and so which way it points. It is for
// display: whether a column drifted is said by Evidently's own test.
type Kind string

// The kinds of drift scores.
const (
	KindPValue   Kind = "p-value"  // small means drift
	KindDistance Kind = "distance" // large means drift
	KindUnknown  Kind = "unknown"  // a method that this package does not know
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
	{"anderson", "Anderson-Darling", KindPValue},
	{"chisquare", "chi-square p_value", KindPValue},
	{"cramer_von_mises", "Cramer-von Mises", KindPValue},
	{"ed", "Energy-distance", KindDistance},
	{"empirical_mmd", "empirical_mmd", KindPValue},
	{"es", "Epps-Singleton", KindPValue},
	{"fisher_exact", "Fisher's Exact test", KindPValue},
	{"g_test", "g_test", KindPValue},
	{"hellinger", "Hellinger distance", KindDistance},
	{"jensenshannon", "Jensen-Shannon distance", KindDistance},
	{"kl_div", "Kullback-Leibler divergence", KindDistance},
	{"ks", "K-S p_value", KindPValue},
	{"mannw", "Mann-Whitney U-rank test", KindPValue},
	{"perc_text_content_drift", "Percentile text content drift", KindDistance},
	{"abs_text_content_drift", "Absolute text content drift", KindDistance},
	{"psi", "PSI", KindDistance},
	{"t_test", "t_test", KindPValue},
	{"TVD", "Total-Variation-Distance", KindPValue},
	{"wasserstein", "Wasserstein distance (normed)", KindDistance},
	{"z", "Z-test p_value", KindPValue},
}

// ownMethods lists those of package drift that Evidently does not have.
var ownMethods = []method{
	{"mannw_two_sided", "Mann-Whitney U-rank test, two-sided", KindPValue},
	{"chisquare_homogeneity", "chi-square p_value of homogeneity", KindPValue},
	{"psi_reference", "PSI over the reference's bins", KindDistance},
	{"jensenshannon_reference", "Jensen-Shannon distance over the reference's bins", KindDistance},
}

// methodOf finds a method by its name or display name. One that is in neither
// table is passed on as it is.
func methodOf(s string) method {
	for _, m := range slices.Concat(methods, ownMethods) {
		if s == m.name || s == m.display {
			return m
		}
	}
	return method{s, s, KindUnknown}
}
