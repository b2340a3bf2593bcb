/* The floor: takes datagrams in batches, sends each to the other of two peers, looks at nothing.
   Usage: null_forwarder PORT CALLER_IP CALLER_PORT CALLEE_IP CALLEE_PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define LARGEST 4096

static struct sockaddr_in address(const char *ip, const char *port) {
    struct sockaddr_in where;
    memset(&where, 0, sizeof where);
    where.sin_family = AF_INET;
    where.sin_port = htons((unsigned short)atoi(port));
    inet_pton(AF_INET, ip, &where.sin_addr);
    return where;
}

int main(int count, char **words) {
    static char data[BATCH][LARGEST];
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct sockaddr_in peers[BATCH], caller, callee, here;
    int buffer = 4 << 20, sock = socket(AF_INET, SOCK_DGRAM, 0);

    if (count != 6) {
        fprintf(stderr, "usage: null_forwarder PORT CALLER_IP CALLER_PORT CALLEE_IP CALLEE_PORT\n");
        return 2;
    }
    here = address("127.0.0.1", words[1]);
    caller = address(words[2], words[3]);
    callee = address(words[4], words[5]);
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (bind(sock, (struct sockaddr *)&here, sizeof here) != 0) {
        perror("bind");
        return 1;
    }
    for (;;) {
        int got, i;
        for (i = 0; i < BATCH; i++) {
            parts[i].iov_base = data[i];
            parts[i].iov_len = LARGEST;
            memset(&messages[i], 0, sizeof messages[i]);
            messages[i].msg_hdr.msg_iov = &parts[i];
            messages[i].msg_hdr.msg_iovlen = 1;
            messages[i].msg_hdr.msg_name = &peers[i];
            messages[i].msg_hdr.msg_namelen = sizeof peers[i];
        }
        got = recvmmsg(sock, messages, BATCH, MSG_WAITFORONE, NULL);
        for (i = 0; i < got; i++) {
            int from_caller =
                peers[i].sin_port == caller.sin_port && peers[i].sin_addr.s_addr == caller.sin_addr.s_addr;
            parts[i].iov_len = messages[i].msg_len;
            peers[i] = from_caller ? callee : caller;
        }
        if (got > 0) sendmmsg(sock, messages, (unsigned)got, 0);
    }
}
