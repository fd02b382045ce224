/*
 * The users of bench W8, the same program for whoever serves them: it opens so many WebSockets, decodes their frames, holds every message
 * against what the first user got, and says when a flush has arrived at everybody.
 *
 *     users PORT PATH USERS EACH DIALECT HELLO KEPT
 *
 *     EACH     messages in a flush
 *     DIALECT  plain, esa, socketio, nats: how a message looks, and when a user is ready for them
 *     HELLO    file with what each user says first, a frame a line (nats: as it is, in one frame)
 *     KEPT     file where the first user's messages go, one a line, all from the first on
 *
 * Says "ready", then "done N" for the Nth flush. Asked for the "end": what was counted, as JSON.
 */
#include "websocket.h"
#include <sys/resource.h>

#define USERS_MAX 20000
/* Connections that are on their way at a time. */
#define ARRIVING_MAX 200
/* Messages that the quickest user may be ahead of the slowest. */
#define AHEAD_MAX 4096
#define READ_MAX (1024 * 1024)

enum dialect { PLAIN, ESA, SOCKETIO, NATS };
enum state { DIALLING, UPGRADING, ENTERING, READY };
static const char *const DIALECTS[] = {"plain", "esa", "socketio", "nats"};

/* Bytes of something that is not whole yet. */
struct rest {
  uint8_t *bytes;
  size_t length, room;
};

struct user {
  int fd;
  enum state state;
  uint64_t messages;
  struct rest frame, text;
};

/* What the first user got as its nth message, and how many have got it. */
struct message {
  uint64_t hash;
  int users;
};

static struct user users[USERS_MAX];
static struct message seen[AHEAD_MAX];
static struct message image;
static int count, dialled, ready;
static uint64_t each, wrong;
/* Of flushes, and the bytes of what they say. */
static uint64_t messages, bytes;
static enum dialect dialect;
static const char *port, *path;
static char *hello;
static size_t hello_length;
static FILE *kept;
static int epoll;

static uint64_t hash_of(const uint8_t *at, size_t length) {
  uint64_t hash = length * 0x9E3779B97F4A7C15u;
  for (; length >= 8; at += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  for (; length > 0; at++, length--) hash = (hash ^ *at) * 0x100000001B3u;
  return hash;
}

/* True: it is what the others got, or the first of its kind. */
static int agrees(struct message *with, uint64_t hash) {
  if (with->users++ == 0) with->hash = hash;
  return with->hash == hash;
}

static void is_ready(struct user *user) {
  user->state = READY;
  if (++ready == count) {
    printf("ready\n");
    fflush(stdout);
  }
}

static void keep(struct user *user, const uint8_t *at, size_t length) {
  if (user != users) return;
  fwrite(at, 1, length, kept);
  fputc('\n', kept);
}

/* A message of a flush. */
static void told(struct user *user, const uint8_t *at, size_t length) {
  if (user->state != READY) FAIL("prices before anybody asked: %.*s", (int)length, at);
  keep(user, at, length);
  messages++;
  bytes += length;
  struct message *message = &seen[user->messages++ % AHEAD_MAX];
  if (!agrees(message, hash_of(at, length))) wrong++;
  if (message->users < count) return;
  message->users = 0;
  if (user->messages % each != 0) return;
  printf("done %lu\n", user->messages / each);
  fflush(stdout);
}

static int begins(const uint8_t *at, size_t length, const char *with) {
  return length >= strlen(with) && memcmp(at, with, strlen(with)) == 0;
}

static int ends(const uint8_t *at, size_t length, const char *with) {
  return length >= strlen(with) && memcmp(at + length - strlen(with), with, strlen(with)) == 0;
}

/* The image must be everybody's too, but for its head. */
static void esa_image(struct user *user, const uint8_t *at, size_t length) {
  if (memmem(at, length, "\"FAILURE\"", 9) != NULL) FAIL("refused: %.*s", (int)length, at);
  if (memmem(at, length, "\"SUB_IMAGE\"", 11) == NULL) return;
  if (memmem(at, length, "\"segmentType\"", 13) != NULL) FAIL("an image in segments");
  const uint8_t *changes = memmem(at, length, "\"mc\":[", 6);
  if (changes == NULL) FAIL("an image of nothing: %.*s", (int)length, at);
  if (!agrees(&image, hash_of(changes, (size_t)(at + length - changes)))) wrong++;
  keep(user, at, length);
  is_ready(user);
}

/* Operations as they come, however they lie in frames; returns how many bytes are dealt with. */
static size_t nats_operations(struct user *user, const uint8_t *at, size_t length) {
  size_t from = 0;
  for (;;) {
    const uint8_t *line = at + from;
    const uint8_t *end = memchr(line, '\n', length - from);
    if (end == NULL) return from;
    size_t line_length = (size_t)(end - line) + 1;
    if (begins(line, line_length, "MSG ")) {
      const uint8_t *size = memrchr(line, ' ', line_length);
      size_t size_of = strtoul((const char *)size, NULL, 10);
      if (from + line_length + size_of + 2 > length) return from;
      told(user, end + 1, size_of);
      line_length += size_of + 2;
    } else if (begins(line, line_length, "PONG")) is_ready(user);
    else if (begins(line, line_length, "-ERR")) FAIL("%.*s", (int)line_length, line);
    from += line_length;
  }
}

static void put_by(struct rest *rest, const uint8_t *at, size_t length) {
  if (length > rest->room) {
    rest->bytes = realloc(rest->bytes, rest->room = length * 2);
    if (rest->bytes == NULL) FAIL("out of memory");
  }
  memmove(rest->bytes, at, length);
  rest->length = length;
}

static void nats(struct user *user, const uint8_t *at, size_t length) {
  static uint8_t whole[2 * READ_MAX];
  if (user->text.length == 0) {
    size_t dealt = nats_operations(user, at, length);
    put_by(&user->text, at + dealt, length - dealt);
    return;
  }
  if (user->text.length + length > sizeof whole) FAIL("too long a message");
  memcpy(whole, user->text.bytes, user->text.length);
  memcpy(whole + user->text.length, at, length);
  length += user->text.length;
  size_t dealt = nats_operations(user, whole, length);
  put_by(&user->text, whole + dealt, length - dealt);
}

/* A client's frame, masked by zeros. */
static void say(struct user *user, int opcode, const void *text, size_t length) {
  uint8_t frame[8 + 65535] = {(uint8_t)(0x80 | opcode), (uint8_t)(0x80 | length)};
  size_t head = length < 126 ? 6 : 8;
  if (length > 65535) FAIL("too long to say");
  if (length >= 126) {
    frame[1] = 0x80 | 126;
    frame[2] = (uint8_t)(length >> 8);
    frame[3] = (uint8_t)length;
  }
  memcpy(frame + head, text, length);
  if (send(user->fd, frame, head + length, MSG_NOSIGNAL) != (ssize_t)(head + length)) FAIL("a user's socket is full");
}

static void message(struct user *user, const uint8_t *at, size_t length) {
  switch (dialect) {
  case PLAIN:
    return told(user, at, length);
  case ESA:
    if (user->state != READY) return esa_image(user, at, length);
    if (!ends(at, length, "\"HEARTBEAT\"}")) told(user, at, length);
    return;
  case SOCKETIO:
    if (begins(at, length, "42")) return told(user, at, length);
    if (begins(at, length, "40")) is_ready(user);
    if (length == 1 && *at == '2') say(user, 1, "3", 1);
    return;
  case NATS:
    return nats(user, at, length);
  }
}

/* Frames, as many as are whole; returns how many bytes they were. A server does not mask; nobody here cuts messages into frames. */
static size_t frames(struct user *user, const uint8_t *at, size_t length) {
  size_t from = 0;
  for (;;) {
    const uint8_t *frame = at + from;
    size_t left = length - from;
    if (left < 2) return from;
    size_t head = frame[1] < 126 ? 2 : frame[1] == 126 ? 4 : 10;
    if (left < head) return from;
    if (frame[1] > 127 || (frame[0] & 0xF0) != 0x80) FAIL("not a frame for a client: %02x %02x", frame[0], frame[1]);
    size_t payload = frame[1] < 126 ? frame[1] : 0;
    if (frame[1] >= 126)
      for (size_t i = 2; i < head; i++) payload = payload << 8 | frame[i];
    if (left < head + payload) return from;
    int opcode = frame[0] & 0x0F;
    if (opcode == 1 || opcode == 2) message(user, frame + head, payload);
    else if (opcode == 9) say(user, 10, frame + head, payload);
    else if (opcode == 8) FAIL("a user is sent away: %.*s", payload > 2 ? (int)payload - 2 : 0, frame + head + 2);
    from += head + payload;
  }
}

static void greet(struct user *user) {
  user->state = ENTERING;
  if (dialect == PLAIN) return is_ready(user);
  if (dialect == NATS) return say(user, 2, hello, hello_length);
  for (char *line = hello, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
    say(user, 1, line, (size_t)(end - line));
}

/* The answer to the upgrade; returns how many bytes it was, 0 while it is not whole. */
static size_t upgraded(struct user *user, const uint8_t *at, size_t length) {
  const uint8_t *end = memmem(at, length, "\r\n\r\n", 4);
  if (end == NULL) return 0;
  size_t head = (size_t)(end - at) + 4;
  if (!begins(at, head, "HTTP/1.1 101") || memmem(at, head, ACCEPT, strlen(ACCEPT)) == NULL)
    FAIL("no upgrade: %.*s", (int)head, at);
  greet(user);
  return head;
}

static void dial(void) {
  while (dialled < count && dialled - ready < ARRIVING_MAX) {
    struct user *user = &users[dialled++];
    struct sockaddr_in at = loopback(port);
    user->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (user->fd < 0) FAIL("user %d: %s", dialled, strerror(errno));
    without_delay(user->fd);
    if (connect(user->fd, (struct sockaddr *)&at, sizeof at) != 0 && errno != EINPROGRESS)
      FAIL("user %d: %s", dialled, strerror(errno));
    watch(epoll, EPOLL_CTL_ADD, user->fd, EPOLLOUT, user);
  }
}

static void connected(struct user *user) {
  char request[1024];
  int length = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n",
                        path, port);
  if (send(user->fd, request, (size_t)length, MSG_NOSIGNAL) != length) FAIL("a user cannot connect: %s", strerror(errno));
  user->state = UPGRADING;
  watch(epoll, EPOLL_CTL_MOD, user->fd, EPOLLIN, user);
}

static void hear(struct user *user) {
  static uint8_t buffer[2 * READ_MAX];
  size_t before = user->frame.length;
  memcpy(buffer, user->frame.bytes, before);
  ssize_t got = recv(user->fd, buffer + before, READ_MAX, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) FAIL("a user's connection broke: %s", got == 0 ? "closed" : strerror(errno));
  size_t length = before + (size_t)got, from = 0;
  if (user->state == UPGRADING) from = upgraded(user, buffer, length);
  if (user->state != UPGRADING) from += frames(user, buffer + from, length - from);
  put_by(&user->frame, buffer + from, length - from);
  if (user->frame.length > READ_MAX) FAIL("too long a message");
}

static void end(void) {
  fclose(kept);
  printf("{\"messages\":%lu,\"bytes\":%lu,\"wrong\":%lu}\n", messages, bytes, wrong);
  fflush(stdout);
  struct linger at_once = {.l_onoff = 1};
  for (int i = 0; i < dialled; i++) setsockopt(users[i].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  exit(0);
}

static enum dialect dialect_named(const char *name) {
  for (int i = PLAIN; i <= NATS; i++)
    if (strcmp(name, DIALECTS[i]) == 0) return (enum dialect)i;
  FAIL("no dialect is called %s", name);
}

int main(int argc, char **argv) {
  if (argc != 8) FAIL("usage: users PORT PATH USERS EACH DIALECT HELLO KEPT");
  port = argv[1];
  path = argv[2];
  count = atoi(argv[3]);
  each = strtoul(argv[4], NULL, 10);
  dialect = dialect_named(argv[5]);
  hello = whole_file(argv[6], &hello_length);
  kept = fopen(argv[7], "wb");
  if (kept == NULL || count < 1 || count > USERS_MAX) FAIL("1 to %d users, and a file to write to", USERS_MAX);
  epoll = epoll_create1(0);
  watch(epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, NULL);
  struct epoll_event events[EVENTS_MAX];
  for (;;) {
    dial();
    int happened = epoll_wait(epoll, events, EVENTS_MAX, -1);
    for (int i = 0; i < happened; i++) {
      struct user *user = events[i].data.ptr;
      if (user == NULL) end();
      else if (user->state == DIALLING) connected(user);
      else hear(user);
    }
  }
}
