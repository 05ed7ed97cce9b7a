package rules

// An Edit adds a rule to a group, or removes one. Lists of edits are in the
// order in which they must be made: additions before removals.
type Edit struct {
	Remove bool
	Group  string
	Rule   Rule
}
