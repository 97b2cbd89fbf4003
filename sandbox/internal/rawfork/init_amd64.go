package rawfork

// initMachine is the machine in the init program's ELF header, EM_X86_64 of
// elf(5).
const initMachine = 62
