package main

type explainCommand struct {
	RunFlags

	Words []string `arg:"" optional:"" passthrough:"partial"`
}

func explainVerb() command { return &explainCommand{} }

func (*explainCommand) run(*call) error {
	return &usageError{msg: "is being written"}
}
