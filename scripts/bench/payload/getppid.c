// getppid prints the nanoseconds that one getppid(2) takes, as the mean of many:
//
//	getppid CALLS          under whatever filter the sandbox has
//	getppid CALLS allow    under a filter of its own that allows everything
//
// getppid does next to nothing in the kernel, so the way into it is what is
// measured, of which a filter is a part.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: getppid CALLS [allow]\n");
		return 2;
	}
	long calls = atol(argv[1]);
	if (argc > 2) {
		struct sock_filter allow[] = {
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = { sizeof allow / sizeof *allow, allow };

		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
			perror("getppid: prctl(PR_SET_SECCOMP)");
			return 1;
		}
	}
	struct timespec begin, end;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long i = 0; i < calls; i++)
		syscall(SYS_getppid);
	clock_gettime(CLOCK_MONOTONIC, &end);
	double took = (end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec);
	printf("%.3f\n", took / calls);
	return 0;
}
