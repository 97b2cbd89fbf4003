package main

type inspectCommand struct {
	RunFlags

	Words []string `arg:"" optional:"" passthrough:"partial"`
}

func inspectVerb() command { return &inspectCommand{} }

func (*inspectCommand) run(*call) error {
	return &usageError{msg: "is being written"}
}
