// Package lessons is the course: one folder a lesson, NN-name, with a README.md
// that reads well on its own and a lesson.txtar that holds everything else:
//
//	title: …             what the list shows
//	steps: uts           the switches that the lesson is about
//	minutes: 5           how long it takes
//	man: namespaces(7)   what to read on
//	file: app/Dockerfile the answer is this file of the student's folder, and
//	                     sbx build of its folder what is looked at
//	-- task --           what the student is asked to do
//	-- off --            a line of sbx: the experiment without the step
//	-- on --             the same with it
//	-- predict --        a question, then a line "+ …" for the right answer and
//	                     lines "- …" for wrong ones
//	-- answer --         the line that the student begins with, which is wrong,
//	                     or with the key file its text
//	-- solution --       a line or a text that is right
//	-- check --          one fact a line, of the table in fact.go
//	-- hints --          FACT: text, the first that holds is given
//	-- files/NAME --     a file of the student's folder
//	-- probe/NAME --     a program of the checker, for the fact probe;
//	                     its line "# want: …" says what it is to show
//	-- env/NAME --       a variable that sbx inherits
//	-- fd/3 --           what sbx inherits open for reading, from 3 on
//	-- image/NAME/N --   the step that made layer N of an image, from 2 on: the
//	                     lowest is that of FROM host
//	-- image/NAME/N/PATH -- a file of that layer; .wh.FILE removes FILE below.
//	                     In its text {secret} is a word, another in each folder
//	-- beside --         a program in Perl that runs on the host meanwhile: it
//	                     prints a line when it is ready and ends with its stdin
//
// The images lie in the student's folder as archives, and in a store of its own:
// sbx has its folder data as XDG_DATA_HOME. In the section solution {layer IMAGE N}
// is the folder of a layer. The lines of the experiment may have another verb than
// run, such as sbx image inspect; an answer may not.
//
// Where the answer is a file, the check builds it in a folder of its own with the
// lesson's other files, then edits one of them and builds again; the facts of
// fact_build.go compare the layers of the two images.
//
// Where the head has "secrets: STEP…", one of these steps is off and the answer
// is its name: a line of the section solution is "STEP: CMD", and CMD shows it.
//
// A line of sbx is data, not a script: [Parse] takes it apart, and nothing but
// sbx is ever executed. The checker runs the student's line through the sbx
// binary as a process of its own and looks at what the kernel says of CMD
// ([observe.View]), how it ended, and which files are on which side. What CMD
// prints counts for little, because a program can print anything: where it
// matters what is possible inside, the checker runs a program of its own with
// the student's flags.
//
// The same file is the exercise, its checker and the project's test: for every
// lesson the tests prove that the off line and the first answer fail, that a
// hint is there for them, and that the solution passes.
package lessons
