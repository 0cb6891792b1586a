/* Version and build facts. */
#ifndef HTH_CMD_VERSION_H
#define HTH_CMD_VERSION_H

void hth_version_print(void); /* to stdout */

#endif
