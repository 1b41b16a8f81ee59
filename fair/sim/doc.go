// Package sim plays what [fair] decides against simulated work: millions of tasks
// of a thousand projects, with heat, quotas, lost updates and deaths, where each
// event is checked (Run), and Airflow's pools as an agent sets them, where times
// can be foreseen (Pools).
package sim
