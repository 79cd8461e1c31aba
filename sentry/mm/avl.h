/*
 * An intrusive AVL tree whose nodes may carry a summary of their subtree (an "augmented" tree).
 *
 * The user walks down from root->node by his own key, and links a new node where the walk ended with avl_insert(). The tree
 * calls root->update(), if set, for every node whose subtree has changed, children before parents; after changing a node's own
 * contribution to the summary in place, call avl_update_up().
 */
#ifndef SENTRY_MM_AVL_H
#define SENTRY_MM_AVL_H

#include "lib/compiler.h"

#include <stddef.h>

struct avl_node {
    struct avl_node *left, *right, *parent;
    int height; /* of the subtree; a leaf has 1 */
};

struct avl_root {
    struct avl_node *node;
    void (*update)(struct avl_node *n); /* recomputes n's summary from itself and its children; NULL: no summary */
};

/* Links `n` as a child of `parent` at `*link` (&parent->left, &parent->right or &root->node), which must be empty. */
void avl_insert(struct avl_root *root, struct avl_node *n, struct avl_node *parent, struct avl_node **link);
void avl_remove(struct avl_root *root, struct avl_node *n);
/* Recomputes the summaries of `n` and all above it. */
void avl_update_up(struct avl_root *root, struct avl_node *n);
/* In order; NULL at the end. */
struct avl_node *avl_first(const struct avl_root *root);
struct avl_node *avl_last(const struct avl_root *root);
struct avl_node *avl_next(const struct avl_node *n);
struct avl_node *avl_prev(const struct avl_node *n);

#define avl_entry(ptr, type, member)                \
    ({                                              \
        struct avl_node *n_ = (ptr);                \
        n_ ? container_of(n_, type, member) : NULL; \
    })

#endif
