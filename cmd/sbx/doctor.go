package main

type doctorCommand struct {
	RunFlags

	Words []string `arg:"" optional:"" passthrough:"partial"`
}

func doctorVerb() command { return &doctorCommand{} }

func (*doctorCommand) run(*call) error {
	return &usageError{msg: "is being written"}
}
