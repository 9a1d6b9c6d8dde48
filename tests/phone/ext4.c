#include "tests/phone/ext4.h"

#include <stdio.h>

#include "usb/base/mem.h"

/* Layout, in blocks from the first data block: superblock (at byte 1024), group descriptors, block
 * bitmap, inode bitmap, inode table, then folders and files in the order of their inodes. Field
 * offsets are those of the kernel's documentation, filesystems/ext4/. */
enum {
    SUPERBLOCK_AT = 1024,
    SUPERBLOCK_MAGIC = 0xEF53,
    INODE_BYTES = 256,
    INODE_COUNT = 64,
    ROOT_INODE = 2,
    FIRST_INODE = 11, /* lost+found; ours follow */
    NODE_MAX = INODE_COUNT - FIRST_INODE,
    EXTENT_MAGIC = 0xF30A,
    EXTENTS_FLAG = 0x80000,
    MODE_FOLDER = 0040755,
    MODE_FILE = 0100644,
    FIXED_TIME = 0x5B4F0000, /* July 2018; one time for all keeps images deterministic */
};

struct node {
    char name[32];
    unsigned parent; /* index of the parent; the root is its own */
    bool folder;
    struct span data;
    uint32_t inode, first_block, blocks;
};

struct builder {
    uint32_t block_bytes, first_data_block, block_count;
    uint32_t next_block;
    struct node nodes[NODE_MAX]; /* [0] root, [1] lost+found */
    unsigned node_count;
    uint8_t *image; /* of used_blocks * block_bytes */
};

static uint32_t inode_table_blocks(const struct builder *b)
{
    return INODE_COUNT * INODE_BYTES / b->block_bytes;
}

static int node_add(struct builder *b, const char *name, size_t name_len, unsigned parent,
                    bool folder)
{
    if (b->node_count == NODE_MAX || name_len == 0 || name_len >= sizeof(b->nodes[0].name))
        return ERR_LIMIT;
    struct node *n = &b->nodes[b->node_count];
    memcpy(n->name, name, name_len);
    n->parent = parent;
    n->folder = folder;
    n->inode = b->node_count == 0 ? ROOT_INODE : FIRST_INODE + b->node_count - 1;
    return (int)b->node_count++;
}

static int node_child(const struct builder *b, unsigned parent, const char *name, size_t name_len)
{
    for (unsigned i = 1; i < b->node_count; i++)
        if (b->nodes[i].parent == parent && strlen(b->nodes[i].name) == name_len &&
            memcmp(b->nodes[i].name, name, name_len) == 0)
            return (int)i;
    return ERR_NOT_FOUND;
}

static int file_add(struct builder *b, const struct ext4_file *file)
{
    int at = 0;
    const char *part = file->path;
    for (const char *slash; (slash = strchr(part, '/')); part = slash + 1) {
        size_t len = (size_t)(slash - part);
        int folder = node_child(b, (unsigned)at, part, len);
        at = folder >= 0 ? folder : node_add(b, part, len, (unsigned)at, true);
        if (at < 0)
            return at;
    }
    at = node_add(b, part, strlen(part), (unsigned)at, false);
    if (at >= 0)
        b->nodes[at].data = file->data;
    return at;
}

static void blocks_assign(struct builder *b)
{
    b->next_block = b->first_data_block + 4 + inode_table_blocks(b);
    for (unsigned i = 0; i < b->node_count; i++) {
        struct node *n = &b->nodes[i];
        size_t len = n->folder ? 1 : n->data.len;
        n->first_block = b->next_block;
        n->blocks = (uint32_t)((len + b->block_bytes - 1) / b->block_bytes);
        b->next_block += n->blocks;
    }
}

static unsigned folder_links(const struct builder *b, unsigned folder)
{
    unsigned links = 2;
    for (unsigned i = 1; i < b->node_count; i++)
        links += b->nodes[i].folder && b->nodes[i].parent == folder;
    return links;
}

static unsigned folder_count(const struct builder *b)
{
    unsigned count = 0;
    for (unsigned i = 0; i < b->node_count; i++)
        count += b->nodes[i].folder;
    return count;
}

static uint8_t *block_at(struct builder *b, uint32_t block)
{
    return b->image + (size_t)block * b->block_bytes;
}

static void superblock_write(struct builder *b, const char *label, const uint8_t uuid[16])
{
    uint8_t *s = b->image + SUPERBLOCK_AT;
    uint32_t log_block = b->block_bytes == 1024 ? 0 : 2;
    put_le32(s + 0x00, INODE_COUNT);
    put_le32(s + 0x04, b->block_count);
    put_le32(s + 0x0C, b->block_count - b->next_block);
    put_le32(s + 0x10, INODE_COUNT - (FIRST_INODE - 1) - (b->node_count - 1));
    put_le32(s + 0x14, b->first_data_block);
    put_le32(s + 0x18, log_block);
    put_le32(s + 0x1C, log_block);
    put_le32(s + 0x20, 8 * b->block_bytes); /* blocks, "clusters" and inodes a group */
    put_le32(s + 0x24, 8 * b->block_bytes);
    put_le32(s + 0x28, INODE_COUNT);
    put_le32(s + 0x30, FIXED_TIME);
    put_le16(s + 0x36, 0xFFFF); /* no check after n mounts */
    put_le16(s + 0x38, SUPERBLOCK_MAGIC);
    put_le16(s + 0x3A, 1); /* clean */
    put_le16(s + 0x3C, 1); /* on errors: continue */
    put_le32(s + 0x40, FIXED_TIME);
    put_le32(s + 0x4C, 1); /* dynamic inode sizes */
    put_le32(s + 0x54, FIRST_INODE);
    put_le16(s + 0x58, INODE_BYTES);
    put_le32(s + 0x5C, 0x08);        /* ext_attr */
    put_le32(s + 0x60, 0x02 | 0x40); /* filetype, extents */
    put_le32(s + 0x64, 0x01 | 0x02); /* sparse_super, large_file */
    memcpy(s + 0x68, uuid, 16);
    strncpy((char *)s + 0x78, label, 16);
    put_le32(s + 0x108, FIXED_TIME); /* made */
}

/* Bits [0, used) and all bits from `valid` to the end of the block are set. */
static void bitmap_write(struct builder *b, uint32_t block, uint32_t used, uint32_t valid)
{
    uint8_t *map = block_at(b, block);
    for (uint32_t i = 0; i < 8 * b->block_bytes; i++)
        if (i < used || i >= valid)
            map[i / 8] = (uint8_t)(map[i / 8] | 1u << i % 8);
}

static void group_write(struct builder *b)
{
    uint32_t first = b->first_data_block;
    uint8_t *g = block_at(b, first + 1);
    uint32_t inodes_used = FIRST_INODE - 1 + b->node_count - 1;
    put_le32(g + 0x0, first + 2);
    put_le32(g + 0x4, first + 3);
    put_le32(g + 0x8, first + 4);
    put_le16(g + 0xC, (uint16_t)(b->block_count - b->next_block));
    put_le16(g + 0xE, (uint16_t)(INODE_COUNT - inodes_used));
    put_le16(g + 0x10, (uint16_t)folder_count(b));
    bitmap_write(b, first + 2, b->next_block - first, b->block_count - first);
    bitmap_write(b, first + 3, inodes_used, INODE_COUNT);
}

static void inode_write(struct builder *b, unsigned index)
{
    const struct node *n = &b->nodes[index];
    uint8_t *i = block_at(b, b->first_data_block + 4) + (size_t)(n->inode - 1) * INODE_BYTES;
    uint64_t size = n->folder ? b->block_bytes : n->data.len;
    put_le16(i + 0x00, n->folder ? MODE_FOLDER : MODE_FILE);
    put_le32(i + 0x04, (uint32_t)size);
    for (int at = 0x08; at <= 0x10; at += 4)
        put_le32(i + at, FIXED_TIME);
    put_le16(i + 0x1A, (uint16_t)(n->folder ? folder_links(b, index) : 1));
    put_le32(i + 0x1C, n->blocks * (b->block_bytes / 512));
    put_le32(i + 0x20, EXTENTS_FLAG);
    put_le16(i + 0x28, EXTENT_MAGIC);
    put_le16(i + 0x2A, n->blocks > 0);
    put_le16(i + 0x2C, 4); /* room for entries inside the inode */
    put_le16(i + 0x38, (uint16_t)n->blocks);
    put_le32(i + 0x3C, n->blocks ? n->first_block : 0);
}

static uint8_t *entry_write(uint8_t *at, const uint8_t *end, uint32_t inode, const char *name,
                            bool folder, bool last)
{
    size_t len = strlen(name);
    size_t record = last ? (size_t)(end - at) : (8 + len + 3) / 4 * 4;
    put_le32(at, inode);
    put_le16(at + 4, (uint16_t)record);
    at[6] = (uint8_t)len;
    at[7] = folder ? 2 : 1;
    memcpy(at + 8, name, len);
    return at + record;
}

static void folder_write(struct builder *b, unsigned index)
{
    const struct node *n = &b->nodes[index];
    uint8_t *at = block_at(b, n->first_block);
    const uint8_t *end = at + b->block_bytes;
    unsigned left = 0;
    for (unsigned i = 1; i < b->node_count; i++)
        left += b->nodes[i].parent == index;
    at = entry_write(at, end, n->inode, ".", true, false);
    at = entry_write(at, end, b->nodes[n->parent].inode, "..", true, left == 0);
    for (unsigned i = 1; i < b->node_count && left; i++)
        if (b->nodes[i].parent == index)
            at = entry_write(at, end, b->nodes[i].inode, b->nodes[i].name, b->nodes[i].folder,
                             --left == 0);
}

int ext4_build(uint64_t size_bytes, const char *label, const uint8_t uuid[16],
               const struct ext4_file *files, size_t file_count, struct buf *out, struct err *err)
{
    struct builder b = {.block_bytes = size_bytes < 1024 * 1024 ? 1024 : 4096};
    b.first_data_block = b.block_bytes == 1024;
    b.block_count = (uint32_t)(size_bytes / b.block_bytes);
    if (b.block_count - b.first_data_block > 8 * b.block_bytes || size_bytes < 64 * 1024)
        return err_set(err, ERR_LIMIT, "ext4 '%s': %llu bytes do not fit one group", label,
                       (unsigned long long)size_bytes);
    node_add(&b, "/", 1, 0, true);
    node_add(&b, "lost+found", strlen("lost+found"), 0, true);
    for (size_t i = 0; i < file_count; i++)
        if (file_add(&b, &files[i]) < 0)
            return err_set(err, ERR_LIMIT, "ext4 '%s': no room for '%s'", label, files[i].path);
    blocks_assign(&b);
    if (b.next_block > b.block_count)
        return err_set(err, ERR_LIMIT, "ext4 '%s': files need %u blocks of %u", label, b.next_block,
                       b.block_count);
    size_t used = (size_t)b.next_block * b.block_bytes;
    b.image = buf_grow(out, used);
    if (!b.image)
        return buf_check(out, err);
    memset(b.image, 0, used);
    superblock_write(&b, label, uuid);
    group_write(&b);
    for (unsigned i = 0; i < b.node_count; i++) {
        inode_write(&b, i);
        if (b.nodes[i].folder)
            folder_write(&b, i);
        else if (b.nodes[i].data.len)
            memcpy(block_at(&b, b.nodes[i].first_block), b.nodes[i].data.data, b.nodes[i].data.len);
    }
    return 0;
}

bool ext4_valid(struct span image)
{
    if (image.len < SUPERBLOCK_AT + 1024)
        return false;
    const uint8_t *s = image.data + SUPERBLOCK_AT;
    return get_le16(s + 0x38) == SUPERBLOCK_MAGIC && get_le16(s + 0x3A) == 1 &&
           get_le32(s + 0x18) <= 2 && get_le16(s + 0x58) == INODE_BYTES &&
           get_le32(s + 0x60) == (0x02 | 0x40);
}

/* The bytes of inode `number`: a single extent, as ext4_build() makes them. */
static struct span inode_data(struct span image, uint32_t number)
{
    struct span none = {NULL, 0};
    const uint8_t *s = image.data + SUPERBLOCK_AT;
    size_t block_bytes = (size_t)1024 << get_le32(s + 0x18);
    size_t table_at = (get_le32(s + 0x14) + 4) * block_bytes;
    if (number == 0 || number > INODE_COUNT)
        return none;
    struct span inode = span_sub(image, table_at + (number - 1) * INODE_BYTES, INODE_BYTES);
    if (inode.len != INODE_BYTES || get_le16(inode.data + 0x28) != EXTENT_MAGIC)
        return none;
    size_t size = get_le32(inode.data + 0x04);
    struct span data = span_sub(image, get_le32(inode.data + 0x3C) * block_bytes, size);
    return data.len == size ? data : none;
}

static uint32_t folder_find(struct span folder, const char *name, size_t name_len)
{
    struct reader r = reader_of(folder);
    while (reader_left(&r) >= 8) {
        uint32_t inode = rd_le32(&r);
        uint16_t record = rd_le16(&r);
        uint8_t len = rd_u8(&r);
        rd_skip(&r, 1);
        if (record < 8)
            return 0;
        struct span rest = rd_bytes(&r, record - 8u);
        if (inode && len == name_len && rest.len >= len && memcmp(rest.data, name, len) == 0)
            return inode;
    }
    return 0;
}

struct span ext4_find(struct span image, const char *path)
{
    struct span none = {NULL, 0};
    if (!ext4_valid(image))
        return none;
    uint32_t inode = ROOT_INODE;
    for (const char *part = path; part;) {
        const char *slash = strchr(part, '/');
        size_t len = slash ? (size_t)(slash - part) : strlen(part);
        inode = folder_find(inode_data(image, inode), part, len);
        if (!inode)
            return none;
        part = slash ? slash + 1 : NULL;
    }
    return inode_data(image, inode);
}
