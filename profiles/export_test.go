package profiles

// LoadFrom is Load for tables of the test's own.
var LoadFrom = load
