/* lathe_crash.c - leaves of a directory what a power cut would have left.
 *
 *   lathe_crash DIR SIDE [SEED]
 *
 * DIR was LATHE_SHIM_PATH and SIDE was LATHE_SHIM_SIDE of processes that ran under libsyncshim and
 * are dead. Reads the journal (its lines are explained in syncshim.c), undoes in reverse order the
 * names whose directory was not synced, then cuts and restores every file, then empties SIDE. With
 * SEED (not 0) what was not synced at the end of a *.log file is not always cut off whole: pages of
 * it reached the disk in any order, and others hold zeros or what lay there before. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096 };
enum kind { CREATE, MKDIR, RMDIR, LINK, UNLINK, RENAME, NEW, FILE_SEEN, UNDO, SYNC, DIRSYNC };

struct line {
    enum kind kind;
    uint64_t at;        /* offset in the journal */
    uint64_t ino;       /* the directory (first six), else the file */
    uint64_t to_dir;    /* RENAME */
    uint64_t moved_ino; /* RENAME */
    uint64_t number;    /* FILE_SEEN, SYNC: length; UNDO: offset; DIRSYNC: upto */
    uint64_t upto;      /* SYNC */
    char *kept;         /* UNLINK, RENAME, UNDO: name in SIDE, "-" = none */
    char *path;         /* first six */
    char *to_path;      /* RENAME */
};

static const char *dir, *side;
static char *journal_text; /* the lines point into it */
static struct line *lines;
static size_t line_count, line_capacity;
static unsigned undone_names, cut_files, torn_files;
static uint64_t cut_bytes;
static uint64_t random_state; /* 0: every file is cut */

_Noreturn static void die(const char *what)
{
    (void)fprintf(stderr, "lathe_crash: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void must(bool fine, const char *what)
{
    if (!fine)
        die(what);
}

/* ---- The journal ---------------------------------------------------------------------------- */

/* Cuts the next word off *rest_p. */
static char *word(char **rest_p)
{
    char *begin = *rest_p;
    char *end = strchr(begin, ' ');

    if (end == NULL) {
        *rest_p = begin + strlen(begin);
        return begin;
    }
    *end = '\0';
    *rest_p = end + 1;
    return begin;
}

static uint64_t number(char **rest_p)
{
    return strtoull(word(rest_p), NULL, 10);
}

static enum kind kind_of(const char *name)
{
    static const char *const names[] = {"create", "mkdir", "rmdir", "link", "unlink", "rename",
                                        "new",    "file",  "undo",  "sync", "dirsync"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return (enum kind)i;
    }
    errno = EINVAL;
    die("journal");
}

static struct line parse(uint64_t at, char *rest)
{
    struct line line = {.at = at};

    line.kind = kind_of(word(&rest));
    line.ino = number(&rest);
    switch (line.kind) {
    case CREATE:
    case MKDIR:
    case RMDIR:
    case LINK:
        line.path = rest;
        break;
    case UNLINK:
        line.kept = word(&rest);
        line.path = rest;
        break;
    case RENAME:
        line.to_dir = number(&rest);
        line.moved_ino = number(&rest);
        line.kept = word(&rest);
        line.path = rest;
        line.to_path = strchr(rest, '\t');
        must(line.to_path != NULL, "journal");
        *line.to_path++ = '\0';
        break;
    case UNDO:
        line.number = number(&rest);
        line.upto = number(&rest);
        line.kept = word(&rest);
        break;
    case SYNC:
        line.number = number(&rest);
        line.upto = number(&rest);
        break;
    case NEW:
    case FILE_SEEN:
    case DIRSYNC:
        line.number = number(&rest);
        break;
    }
    return line;
}

static char *read_whole(const char *path, size_t *size_out)
{
    int fd = open(path, O_RDONLY);
    struct stat info;
    char *bytes;

    must(fd >= 0 && fstat(fd, &info) == 0, path);
    *size_out = (size_t)info.st_size;
    bytes = malloc(*size_out + 1);
    must(bytes != NULL, path);
    for (size_t done = 0; done < *size_out;) {
        ssize_t got = read(fd, bytes + done, *size_out - done);

        must(got > 0, path);
        done += (size_t)got;
    }
    bytes[*size_out] = '\0';
    (void)close(fd);
    return bytes;
}

static void read_journal(void)
{
    char path[PATH_MAX];
    char *begin, *end;
    size_t size;

    (void)snprintf(path, sizeof(path), "%s/journal", side);
    if (access(path, F_OK) != 0)
        return;
    journal_text = read_whole(path, &size);
    /* A line without its end was being written: what it announces was not done. */
    for (begin = journal_text; (end = strchr(begin, '\n')) != NULL; begin = end + 1) {
        *end = '\0';
        if (line_count == line_capacity) {
            line_capacity = line_capacity * 2 + 256;
            lines = realloc(lines, line_capacity * sizeof(*lines));
            must(lines != NULL, "memory");
        }
        lines[line_count++] = parse((uint64_t)(begin - journal_text), begin);
    }
}

/* ---- Names ---------------------------------------------------------------------------------- */

static bool directory_synced_after(uint64_t ino, uint64_t at)
{
    for (size_t i = line_count; i-- > 0;) {
        if (lines[i].kind == DIRSYNC && lines[i].ino == ino && lines[i].number > at)
            return true;
    }
    return false;
}

static bool is_durable(const struct line *line)
{
    return directory_synced_after(line->ino, line->at) &&
           (line->kind != RENAME || directory_synced_after(line->to_dir, line->at));
}

static uint64_t wanted_ino;
static char found_path[PATH_MAX];

static int match_directory(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)where;
    if (kind != FTW_D || (uint64_t)info->st_ino != wanted_ino)
        return 0;
    (void)snprintf(found_path, sizeof(found_path), "%s", path);
    return 1;
}

/* Where a name lies now: its directory may have been renamed. False if the directory is gone. */
static bool locate(uint64_t directory, const char *path, char out[PATH_MAX])
{
    wanted_ino = directory;
    if (nftw(dir, match_directory, 16, FTW_PHYS) != 1)
        return false;
    return snprintf(out, PATH_MAX, "%s%s", found_path, strrchr(path, '/')) < PATH_MAX;
}

static bool exists(const char *path)
{
    struct stat info;

    return lstat(path, &info) == 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_tree(const char *path)
{
    must(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, path);
}

static void restore(const char *kept, const char *path)
{
    char from[PATH_MAX];

    (void)snprintf(from, sizeof(from), "%s/%s", side, kept);
    must(link(from, path) == 0, path);
}

static void undo_rename(const struct line *line)
{
    char from[PATH_MAX], to[PATH_MAX];
    struct stat info;

    if (!locate(line->ino, line->path, from) || !locate(line->to_dir, line->to_path, to))
        return;
    if (lstat(to, &info) != 0 || (uint64_t)info.st_ino != line->moved_ino || exists(from))
        return; /* it was not done */
    must(rename(to, from) == 0, from);
    if (strcmp(line->kept, "-") != 0)
        restore(line->kept, to);
    undone_names++;
}

static void undo_name(const struct line *line)
{
    char path[PATH_MAX];
    bool there;

    if (line->kind == RENAME) {
        undo_rename(line);
        return;
    }
    if (!locate(line->ino, line->path, path))
        return;
    there = exists(path);
    /* What was announced and not done is as it should be already. */
    if (there == (line->kind == UNLINK || line->kind == RMDIR))
        return;
    if (line->kind == UNLINK)
        restore(line->kept, path);
    else if (line->kind == RMDIR)
        must(mkdir(path, 0700) == 0, path);
    else if (line->kind == MKDIR)
        remove_tree(path);
    else
        must(unlink(path) == 0, path);
    undone_names++;
}

static void undo_names(void)
{
    for (size_t i = line_count; i-- > 0;) {
        if (lines[i].kind <= RENAME && !is_durable(&lines[i]))
            undo_name(&lines[i]);
    }
}

/* ---- Content -------------------------------------------------------------------------------- */

struct content {
    bool known;
    uint64_t durable;
    uint64_t upto; /* UNDO lines before it are done with */
};

static struct content content_of(uint64_t ino)
{
    struct content content = {0};

    for (size_t i = 0; i < line_count; i++) {
        const struct line *line = &lines[i];

        if (line->kind < NEW || line->kind == DIRSYNC || line->ino != ino)
            continue;
        if (line->kind == NEW)
            content = (struct content){true, 0, line->at};
        else if (line->kind == FILE_SEEN && !content.known)
            content = (struct content){true, line->number, line->at};
        else if (line->kind == SYNC)
            content = (struct content){true, line->number, line->upto};
    }
    return content;
}

static void put_back(int fd, const struct line *line, const char *path)
{
    char from[PATH_MAX];
    size_t size;
    char *bytes;

    (void)snprintf(from, sizeof(from), "%s/%s", side, line->kept);
    bytes = read_whole(from, &size);
    must(pwrite(fd, bytes, size, (off_t)line->number) == (ssize_t)size, path);
    free(bytes);
}

/* xorshift64; the state is never 0 here. */
static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % limit;
}

/* Writes zeros or garbage over a part of a page. */
static void lose(int fd, uint64_t from, uint64_t to, const char *path)
{
    uint8_t bytes[PAGE_BYTES] = {0};
    bool garbage = random_below(4) == 0;

    for (size_t i = 0; garbage && i < to - from; i++)
        bytes[i] = (uint8_t)random_below(256);
    must(pwrite(fd, bytes, to - from, (off_t)from) == (ssize_t)(to - from), path);
}

/* Tears what was not synced: keeps some pages, loses others. Returns the file's new length. */
static uint64_t tear(int fd, uint64_t durable, uint64_t size, const char *path)
{
    uint64_t left = durable + random_below(size - durable + 1);
    uint64_t odds = 1 + random_below(4);

    if (random_below(3) == 0)
        left = size;
    for (uint64_t from = durable, to; from < left; from = to) {
        to = (from / PAGE_BYTES + 1) * PAGE_BYTES;
        to = to < left ? to : left;
        if (random_below(odds) == 0)
            lose(fd, from, to, path);
    }
    torn_files++;
    return left;
}

static bool is_log(const char *path)
{
    size_t size = strlen(path);

    return size > 4 && strcmp(path + size - 4, ".log") == 0;
}

static int restore_content(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    uint64_t ino = (uint64_t)info->st_ino;
    struct content content = content_of(ino);
    struct stat now;
    int fd;

    (void)where;
    if (kind != FTW_F || !content.known)
        return 0;
    fd = open(path, O_RDWR);
    must(fd >= 0, path);
    for (size_t i = line_count; i-- > 0;) {
        if (lines[i].kind == UNDO && lines[i].ino == ino && lines[i].at >= content.upto)
            put_back(fd, &lines[i], path);
    }
    must(fstat(fd, &now) == 0, path);
    if ((uint64_t)now.st_size > content.durable) {
        uint64_t left = content.durable;

        if (random_state != 0 && is_log(path) && random_below(4) != 0)
            left = tear(fd, content.durable, (uint64_t)now.st_size, path);
        must(ftruncate(fd, (off_t)left) == 0, path);
        cut_files++;
        cut_bytes += (uint64_t)now.st_size - left;
    }
    (void)close(fd);
    return 0;
}

static void empty_side(void)
{
    DIR *directory = opendir(side);
    struct dirent *entry;

    must(directory != NULL, side);
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, "journal") == 0 || strncmp(entry->d_name, "keep-", 5) == 0 ||
            strncmp(entry->d_name, "undo-", 5) == 0)
            must(unlinkat(dirfd(directory), entry->d_name, 0) == 0, entry->d_name);
    }
    (void)closedir(directory);
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4) {
        (void)fprintf(stderr, "usage: lathe_crash DIR SIDE [SEED]\n");
        return 2;
    }
    dir = argv[1];
    side = argv[2];
    random_state = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    read_journal();
    undo_names();
    must(nftw(dir, restore_content, 16, FTW_PHYS) == 0, dir);
    empty_side();
    free(lines);
    free(journal_text);
    printf("undone names: %u, cut files: %u, cut bytes: %" PRIu64 ", torn logs: %u\n", undone_names,
           cut_files, cut_bytes, torn_files);
    return 0;
}
