// Package fair decides who gets how much of a machine: shares of its slots,
// quotas, and a budget that follows heat and energy. It does no I/O and takes
// the time as an argument, so that the code which decides live is the code that
// the simulator runs.
//
//	var turns fair.Turns // kept between looks, also as JSON
//	budget := heat.Budget(now, reading).Slots
//	shares := turns.Divide(now, budget, projects, demand, fair.Rules{Max: 4})
//	for _, s := range shares {
//		setPool(s.Project, s.Slots)
//	}
//
// Shares are weighted max-min fair over demand. The order over time is that of
// start-time fair queueing: each project has a virtual time, the slot-seconds that
// it held over its weight, and the lowest comes next. A project that comes back
// begins at the virtual time of the others, so that idle time earns nothing.
//
// Source: Goyal, Vin, Cheng, "Start-time Fair Queueing", SIGCOMM 1996.
package fair
