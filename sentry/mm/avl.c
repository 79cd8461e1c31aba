/* See avl.h. The balance is kept by the textbook rotations, on the way up from the place of a change to the root. */
#include "sentry/mm/avl.h"

static int height(const struct avl_node *n)
{
    return n ? n->height : 0;
}

static void update(struct avl_root *root, struct avl_node *n)
{
    int l = height(n->left), r = height(n->right);

    n->height = (l > r ? l : r) + 1;
    if (root->update)
        root->update(n);
}

/* Puts `to` (may be NULL) in the place of `from` below from's parent. */
static void replace_child(struct avl_root *root, struct avl_node *from, struct avl_node *to)
{
    struct avl_node *parent = from->parent;

    if (!parent)
        root->node = to;
    else if (parent->left == from)
        parent->left = to;
    else
        parent->right = to;
    if (to)
        to->parent = parent;
}

static struct avl_node *rotate_left(struct avl_root *root, struct avl_node *n)
{
    struct avl_node *up = n->right;

    replace_child(root, n, up);
    n->right = up->left;
    if (n->right)
        n->right->parent = n;
    up->left = n;
    n->parent = up;
    update(root, n);
    update(root, up);
    return up;
}

static struct avl_node *rotate_right(struct avl_root *root, struct avl_node *n)
{
    struct avl_node *up = n->left;

    replace_child(root, n, up);
    n->left = up->right;
    if (n->left)
        n->left->parent = n;
    up->right = n;
    n->parent = up;
    update(root, n);
    update(root, up);
    return up;
}

/* Restores the balance of `n` and all above it, whose children are balanced. */
static void rebalance_up(struct avl_root *root, struct avl_node *n)
{
    for (; n; n = n->parent) {
        int balance = height(n->left) - height(n->right);
        if (balance > 1) {
            if (height(n->left->left) < height(n->left->right))
                rotate_left(root, n->left);
            n = rotate_right(root, n);
        } else if (balance < -1) {
            if (height(n->right->right) < height(n->right->left))
                rotate_right(root, n->right);
            n = rotate_left(root, n);
        } else {
            update(root, n);
        }
    }
}

void avl_insert(struct avl_root *root, struct avl_node *n, struct avl_node *parent, struct avl_node **link)
{
    n->left = n->right = NULL;
    n->parent = parent;
    n->height = 1;
    *link = n;
    rebalance_up(root, n);
}

void avl_remove(struct avl_root *root, struct avl_node *n)
{
    struct avl_node *from; /* the lowest node whose subtree has changed */

    if (n->left && n->right) {
        struct avl_node *next = n->right;
        while (next->left)
            next = next->left;
        from = next->parent == n ? next : next->parent;
        if (next->parent != n) {
            replace_child(root, next, next->right);
            next->right = n->right;
            next->right->parent = next;
        }
        next->left = n->left;
        next->left->parent = next;
        replace_child(root, n, next);
    } else {
        from = n->parent;
        replace_child(root, n, n->left ? n->left : n->right);
    }
    rebalance_up(root, from);
}

void avl_update_up(struct avl_root *root, struct avl_node *n)
{
    for (; n; n = n->parent)
        update(root, n);
}

struct avl_node *avl_first(const struct avl_root *root)
{
    struct avl_node *n = root->node;

    while (n && n->left)
        n = n->left;
    return n;
}

struct avl_node *avl_last(const struct avl_root *root)
{
    struct avl_node *n = root->node;

    while (n && n->right)
        n = n->right;
    return n;
}

struct avl_node *avl_next(const struct avl_node *n)
{
    if (n->right) {
        n = n->right;
        while (n->left)
            n = n->left;
        return (struct avl_node *)n;
    }
    while (n->parent && n->parent->right == n)
        n = n->parent;
    return n->parent;
}

struct avl_node *avl_prev(const struct avl_node *n)
{
    if (n->left) {
        n = n->left;
        while (n->right)
            n = n->right;
        return (struct avl_node *)n;
    }
    while (n->parent && n->parent->left == n)
        n = n->parent;
    return n->parent;
}
