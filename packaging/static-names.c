/* Linked into the release binary when that is glibc, statically: names are looked up by what is built into the binary.
 *
 * glibc reads in /etc/nsswitch.conf which services to ask, and loads those that it does not contain (mdns, resolve,
 * myhostname ...) as libraries at run time, from a static program too. They come with the C library of the system that
 * it runs on, and a process with two C libraries ends by SIGFPE or an assertion at the first name that it looks up. So the
 * file's choice is overridden here, before main: /etc/hosts and DNS for hosts, files for all else. */
#include <nss.h>

__attribute__((constructor)) static void built_in_services_only(void) {
  static const char *const tables[] = {"passwd", "group", "services", "protocols", "networks"};
  for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++) {
    __nss_configure_lookup(tables[i], "files");
  }
  __nss_configure_lookup("hosts", "files dns");
}
