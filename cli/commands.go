package cli

import "github.com/urfave/cli/v2"

// commands lists all commands of mlopsctl in the order in which help shows
// them.
func commands(e *env) []*cli.Command {
	return []*cli.Command{
		setupCommand(e),
		startCommand(e),
		stopCommand(e),
		restartCommand(e),
		statusCommand(e),
		logsCommand(e),
		doctorCommand(e),
		destroyCommand(e),
		registerCommand(e),
		projectsCommand(e),
		runCommand(e),
		metricCommand(e),
		paramCommand(e),
		tagCommand(e),
		artifactCommand(e),
		experimentCommand(e),
		importCommand(e),
		syncCommand(e),
		agentCommand(e),
		appleCommand(e),
		modelCommand(e),
		dvcCommand(e),
		dvcInitCommand(e),
		dvcAddCommand(e),
		dvcPushCommand(e),
		dvcPullCommand(e),
		dagCommand(e),
		deployCommand(e),
		undeployCommand(e),
		listDeploymentsCommand(e),
		predictCommand(e),
		driftCommand(e),
		demoCommand(e),
		versionCommand(e),
		completionCommand(e),
		manCommand(e),
		completeCommand(e),
		superviseCommand(e),
	}
}
