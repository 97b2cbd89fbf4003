package main

type compareCommand struct {
	RunFlags

	Words []string `arg:"" optional:"" passthrough:"partial"`
}

func compareVerb() command { return &compareCommand{} }

func (*compareCommand) run(*call) error {
	return &usageError{msg: "is being written"}
}
