package live

import "time"

// SetPatience shortens how long an answer may take.
func (s *Source) SetPatience(d time.Duration) { s.patience = d }

// NextPage is how many objects are asked for next.
var NextPage = nextPage
